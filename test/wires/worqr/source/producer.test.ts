import t from 'tap';
import { WorqrProducer } from '../../../../src/index.js';
import { LabRedis, requireRedis } from '../../../lab/redis.js';
import { until } from '../../../lab/until.js';
import { openPlace } from './place.js';

let lab: LabRedis;
t.before(async () => {
  if (requireRedis({ plan: () => {}, fail: (message) => t.fail(message) })) lab = await LabRedis.start();
});
t.teardown(() => lab?.close());

t.test('tasks arrive at a worqr worker in their order, and the producer hears how they end', async (t) => {
  if (!requireRedis(t)) return;
  const place = await openPlace(t, lab);
  const peer = place.peer();
  await peer.startWorker();
  await peer.startWork('q');
  const producer = place.producer();
  await producer.enqueue('q');
  await producer.enqueue('q', 'a', { b: 1 }, '');
  t.equal(await producer.count('q'), 3);
  await until(() => peer.events.some(({ type, payload }) => type === 'work' && payload === '3'));
  const tasks: string[] = [];
  for (let process = await peer.dequeue('q'); process !== null; process = await peer.dequeue('q')) {
    tasks.push(process.task);
    await peer.finish(process.id);
  }
  t.same(tasks, ['a', '{"b":1}', '']);
  const done = producer.run('q', 'wanted');
  await until(async () => (await producer.count('q')) === 1);
  const process = await peer.dequeue('q');
  await peer.finish(process?.id ?? '', { answer: 42 });
  t.same(await done, { workerId: peer.id, result: { answer: 42 } });
});

t.test('a Worker of ours tells its producer results and errors', async (t) => {
  if (!requireRedis(t)) return;
  const place = await openPlace(t, lab);
  const { take } = await place.open();
  const producer = place.producer();
  const [good, bad] = [producer.run('q', { n: 1 }), producer.run('q', 'bad')];
  for (const lease of [await take(), await take()])
    await lease.settle(
      lease.job.data === 'bad'
        ? { state: 'failed', error: { code: 'task-threw', message: 'no' }, retry: false }
        : { state: 'completed', output: null },
    );
  t.match(await good, { workerId: /^peerwork-/, result: null });
  t.match(await bad, { error: { code: 'task-threw', message: 'no' } });
});

t.test('unique tasks: of many at once one is added, and the others are told', async (t) => {
  if (!requireRedis(t)) return;
  const place = await openPlace(t, lab);
  const producers = [place.producer(), place.producer(), place.producer()];
  const answers = await Promise.all(Array.from({ length: 30 }, (_, at) => producers[at % 3]?.enqueueUnique('q', 'once')));
  t.equal(answers.filter(Boolean).length, 1);
  t.equal(await producers[0]?.count('q'), 1);
  await t.rejects(place.peer().enqueueUnique('q', 'once'), /duplicate/, 'worqr sees it as its own');
  await producers[0]?.enqueue('q', 'another, right after');
  t.equal(await producers[0]?.count('q'), 2, 'a refusal leaves nothing behind that eats the next');
});

t.test('a cancelled unique task can be added again', async (t) => {
  if (!requireRedis(t)) return;
  const place = await openPlace(t, lab);
  const producer = place.producer();
  t.equal(await producer.enqueueUnique('q', 'x'), true);
  t.equal(await producer.cancel('q', 'x'), 1);
  t.equal(await producer.enqueueUnique('q', 'x'), true);
  const { take, source } = await place.open();
  await (await take()).settle({ state: 'completed', output: 'done' });
  await source.flush(new AbortController().signal);
  t.equal(await producer.enqueueUnique('q', 'x'), true, 'nor does a finished one block');
});

t.test('waiting can be given up', async (t) => {
  if (!requireRedis(t)) return;
  const place = await openPlace(t, lab);
  await t.rejects(place.producer().run('q', 'nobody comes', AbortSignal.timeout(50)), { name: 'TimeoutError' });
});

t.test('a Redis that is away is told, and found again', async (t) => {
  if (!requireRedis(t)) return;
  const own = await LabRedis.start();
  t.teardown(() => own.close());
  await own.stop();
  const producer = new WorqrProducer({ url: own.url });
  t.teardown(() => producer.close());
  await t.rejects(producer.enqueue('q', 'a'), { code: 'worqr-unreachable' });
  await own.startAgain();
  await producer.enqueue('q', 'a');
  t.equal(await producer.count('q'), 1);
  await own.stop('kill');
  await t.rejects(producer.enqueue('q', 'b'), { code: 'worqr-unreachable' });
  await own.startAgain();
  await until(async () => (await producer.count('q').catch(() => 0)) === 1);
});

t.test('a Redis that refuses is told', async (t) => {
  if (!requireRedis(t)) return;
  const place = await openPlace(t, lab);
  await place.redis.set('worqr:queues:q', 'no list');
  await t.rejects(place.producer().enqueue('q', 'a'), { code: 'worqr-refused' });
  await t.rejects(place.producer().enqueue('a:b', 'a'), { code: 'option-invalid' });
});
