import t from 'tap';
import { Grid } from '../lab/grid.js';
import { Guide } from '../lab/guide.js';
import { LabRedis, requireRedis } from '../lab/redis.js';
import { until } from '../lab/until.js';
import { WorqrPeer } from '../lab/worqr-peer.js';

t.test('the page for users of worqr, followed to its end: producers and workers of worqr stay as they are', async (t) => {
  if (!requireRedis(t)) return;
  const redis = await LabRedis.start();
  const grid = new Grid();
  const [producer, old] = [new WorqrPeer(redis.url), new WorqrPeer(redis.url)];
  t.teardown(async () => {
    for (const peer of [producer, old]) peer.die();
    await grid.close();
    await redis.close();
  });
  const guide = new Guide('coming-from/worqr.md');
  const done = (task: string) => {
    const told = producer.events.filter(({ type }) => type === 'done').map(({ payload }) => JSON.parse(payload));
    return told.find((each) => each.task === task);
  };
  await producer.startWorker();
  await producer.startWork('thumbnails');
  await old.startWorker();
  await old.startWork('thumbnails');
  await producer.enqueue('thumbnails', '{"file":"old.png"}');
  const held = await old.dequeue('thumbnails');
  t.equal(held?.task, '{"file":"old.png"}', 'a worker of worqr is at work');

  guide.writeFiles(grid.folder);
  const [command] = guide.commands({ 'redis://127.0.0.1:6379': redis.url });
  const worker = grid.start(command ?? []);
  await worker.line(/sources=worqr/);
  await producer.enqueue('thumbnails', '{"file":"a.png"}', '{"no":"file"}', 'plain');
  await until(() => done('{"file":"a.png"}') !== undefined);
  t.match(done('{"file":"a.png"}'), { workerId: /^peerwork-/, result: { file: 'a.png', size: 128 } });
  await until(() => done('plain') !== undefined);
  t.match(done('plain'), { result: { size: 128 } }, 'a text stays a text');

  await old.failWorker(old.id);
  await until(() => done('{"file":"old.png"}') !== undefined);
  t.match(done('{"file":"old.png"}'), { workerId: /^peerwork-/ }, 'what the old worker gave back is done');
  await worker.stop('SIGTERM');
  t.equal((await worker.ended).code, 0, worker.text);
  t.equal(await producer.count('thumbnails'), 0);
});
