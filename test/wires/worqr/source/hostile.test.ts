import { createServer, type Socket } from 'node:net';
import t from 'tap';
import { worqrSource } from '../../../../src/index.js';
import { MAX_JOB_DATA_BYTES } from '../../../../src/job/limits.js';
import { echoTask, openSource } from '../../../lab/open-source.js';
import { LabRedis, requireRedis } from '../../../lab/redis.js';
import { seededRandom } from '../../../lab/seeded-random.js';
import { until } from '../../../lab/until.js';
import { openPlace } from './place.js';

const SEED = 20_261_125;

let lab: LabRedis;
t.before(async () => {
  if (requireRedis({ plan: () => {}, fail: (message) => t.fail(message) })) lab = await LabRedis.start({ durable: false });
});
t.teardown(() => lab?.close());

t.test('tasks are texts of any kind: none ends the source, each comes as what it is', async (t) => {
  if (!requireRedis(t)) return;
  const place = await openPlace(t, lab);
  const random = seededRandom(SEED);
  const parts = ['{', '}', '[', ']', '"', ':', ',', '1', '-', 'null', '\u0000', '\n', '\\', '\ud800', '💥', '__proto__', ' ', 'é'] as const;
  const tasks = Array.from({ length: 400 }, () => Array.from({ length: random.below(12) }, () => random.pick(parts)).join(''));
  tasks.push('{"a":1}', '[1,2]', '7', 'true', '"text"', '{"__proto__":{"x":1}}', ' {"spaced": true} ', '');
  await place.producer().enqueue('q', ...tasks);
  const { source } = await place.open();
  const seen: unknown[] = [];
  while (seen.length < tasks.length)
    for (const lease of await source.claim(50, AbortSignal.timeout(10_000))) {
      seen.push(lease.job.data);
      await lease.settle({ state: 'completed', output: lease.job.data });
    }
  t.same(seen.slice(-8), [{ a: 1 }, [1, 2], '7', 'true', '"text"', JSON.parse('{"__proto__":{"x":1}}'), { spaced: true }, '']);
  t.equal(({} as { x?: number }).x, undefined);
  await source.flush(new AbortController().signal);
  t.same(await place.redis.keys('worqr:processes:*'), []);
});

t.test('a task that is too long is not even fetched, and finished with an error', async (t) => {
  if (!requireRedis(t)) return;
  const place = await openPlace(t, lab);
  const peer = place.peer();
  await peer.startWorker();
  await peer.startWork('q');
  const { take } = await place.open();
  await peer.enqueue('q', 'x'.repeat(MAX_JOB_DATA_BYTES + 1), 'next');
  t.equal((await take()).job.data, 'next');
  await until(() => peer.events.some(({ type }) => type === 'done'));
  t.match(JSON.parse(peer.events.find(({ type }) => type === 'done')?.payload ?? ''), { error: { code: 'job-invalid' } });
});

t.test('keys that hold something else are told, not too often, and it goes on when they are right again', async (t) => {
  if (!requireRedis(t)) return;
  const place = await openPlace(t, lab);
  await place.redis.set('worqr:queues:q', 'no list');
  const { source, warnings, take } = await place.open();
  t.same(await source.claim(1, AbortSignal.timeout(1_500)), []);
  t.ok(warnings.some(({ code }) => code === 'worqr-refused'));
  t.ok(warnings.length < 8, `${warnings.length} times`);
  await place.redis.del('worqr:queues:q');
  await place.producer().enqueue('q', 'right');
  t.equal((await take()).job.data, 'right');
});

t.test('hostile messages: cancels of what is not there, garbage on every channel', async (t) => {
  if (!requireRedis(t)) return;
  const place = await openPlace(t, lab);
  const random = seededRandom(SEED);
  const { take, source } = await place.open();
  await place.producer().enqueue('q', 'mine');
  const lease = await take();
  for (let at = 0; at < 500; at += 1)
    await place.redis.publish(`worqr_q_${random.pick(['work', 'cancel', 'done', 'delete'])}`, Buffer.from(random.bytes(random.below(40))));
  t.notOk(lease.signal.aborted);
  await lease.settle({ state: 'completed', output: 1 });
  await source.flush(new AbortController().signal);
});

t.test('a server that speaks garbage instead of Redis: 150 seeded conversations', async (t) => {
  const random = seededRandom(SEED);
  const sockets = new Set<Socket>();
  let conversations = 0;
  const answers = [
    '+OK\r\n',
    '$-1\r\n',
    '*-1\r\n',
    ':1\r\n',
    '-ERR no\r\n',
    '*1\r\n$1\r\nx\r\n',
    '*3\r\n:1\r\n',
    '$9999999999\r\n',
    '%',
  ] as const;
  const server = createServer((socket) => {
    conversations += 1;
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
    socket.on('data', () => {
      const turns = 1 + random.below(4);
      for (let turn = 0; turn < turns; turn += 1) {
        if (random.below(3) === 0) socket.write(random.bytes(random.below(60)));
        else socket.write(random.pick(answers));
      }
      if (random.below(2) === 0) socket.destroy();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const { port } = server.address() as { port: number };
  // Several at once, because each waits longer after each failure.
  const sources = await Promise.all(
    Array.from({ length: 50 }, () =>
      openSource(t, worqrSource({ url: `redis://127.0.0.1:${port}`, tasks: { q: echoTask(t) }, pollMs: 50 })),
    ),
  );
  const stop = new AbortController();
  const claims = sources.map(async ({ source }) => {
    while (!stop.signal.aborted) t.same(await source.claim(2, stop.signal), []);
  });
  await until(() => conversations >= 150);
  stop.abort();
  await Promise.all(claims);
  await Promise.all(sources.map(({ close }) => close()));
  t.ok(sources.every(({ warnings }) => warnings.every(({ code }) => code.startsWith('worqr-'))));
});
