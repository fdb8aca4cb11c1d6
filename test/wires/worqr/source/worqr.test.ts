import { createHash } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { worqrSource } from '../../../../src/index.js';
import { Grid } from '../../../lab/grid.js';
import { aborted, echoTask, temporaryFolder } from '../../../lab/open-source.js';
import { LabRedis, requireRedis } from '../../../lab/redis.js';
import { until } from '../../../lab/until.js';
import { WorqrPeer } from '../../../lab/worqr-peer.js';
import { openPlace } from './place.js';

const completed = (output: unknown) => ({ state: 'completed', output }) as never;
const failed = (message: string, retry = true) => ({ state: 'failed', error: { code: 'task-threw', message }, retry }) as const;
const released = { state: 'released', reason: 'the worker stops' } as const;
const never = new AbortController().signal;

let lab: LabRedis;
t.before(async () => {
  if (requireRedis({ plan: () => {}, fail: (message) => t.fail(message) })) lab = await LabRedis.start();
});
t.teardown(() => lab?.close());

t.test('a task of a worqr producer is done, and its peers are told as worqr tells them', async (t) => {
  if (!requireRedis(t)) return;
  const place = await openPlace(t, lab);
  const peer = place.peer();
  await peer.startWorker();
  await peer.startWork('q');
  const { source, take, unsent, close } = await place.open();
  await peer.enqueue('q', '{"n":1}', 'plain');
  const [first, second] = [await take(), await take()];
  t.match(first.job, { id: /^q_peerwork-[\w-]+\.\d+$/, channel: 'q', data: { n: 1 }, attempt: 1, timeoutMs: 0 });
  t.equal(second.job.data, 'plain');
  t.equal(first.runner, 'task-module');
  t.equal(await place.redis.sismember('worqr:workingProcesses:q', first.job.id), 1, 'held where worqr looks');
  await first.settle(completed(0));
  await second.settle(failed('no', false));
  await source.flush(never);
  await until(() => peer.events.filter(({ type }) => type === 'done').length === 2);
  const [done, error] = peer.events.filter(({ type }) => type === 'done').map(({ payload }) => JSON.parse(payload));
  t.match(done, { workerId: /^peerwork-/, task: '{"n":1}', result: 0 }, 'a result that is falsy too');
  t.match(error, { task: 'plain', error: { code: 'task-threw', message: 'no' } });
  t.equal(unsent(), 0);
  await close();
  const rest = (await place.left()).filter((key) => !key.includes(peer.id));
  t.same(rest, ['worqr:expiringWorkers', 'worqr:workers'], 'nothing of ours stays');
  t.same(await place.redis.smembers('worqr:workers'), [peer.id]);
});

t.test('many workers of both kinds share a queue: each task once while nobody leaves', async (t) => {
  if (!requireRedis(t)) return;
  const place = await openPlace(t, lab);
  const peer = place.peer();
  const ours = await Promise.all([place.open(), place.open()]);
  await peer.startWorker();
  await peer.startWork('q');
  await peer.enqueue('q', ...Array.from({ length: 300 }, (_, n) => `t${n}`));
  const seen: string[] = [];
  const work = async ({ source }: (typeof ours)[number]) => {
    while (seen.length < 300) {
      for (const lease of await source.claim(3, AbortSignal.timeout(100))) {
        seen.push(String(lease.job.data));
        await lease.settle(completed('ok'));
      }
    }
    await source.flush(never);
  };
  const workPeer = async () => {
    while (seen.length < 300) {
      const process = await peer.dequeue('q');
      if (process === null) continue;
      seen.push(process.task);
      await peer.finish(process.id, 'ok');
    }
  };
  await Promise.all([...ours.map(work), workPeer()]);
  t.equal(seen.length, 300);
  t.equal(new Set(seen).size, 300);
  t.equal(await peer.count('q'), 0);
});

t.test('a queue whose name has underscores, a prefix, a database, a password', async (t) => {
  if (!requireRedis(t)) return;
  const own = await LabRedis.start({ password: 'long p@ssword' });
  t.teardown(() => own.close());
  const url = `${own.url}/3`;
  const place = await openPlace(t, own);
  const { take, source, lines } = await place.open({ url, prefix: 'my.jobs', tasks: { my_long_queue: echoTask(t) } });
  const peer = new WorqrPeer(url, { prefix: 'my.jobs' });
  t.teardown(() => peer.die());
  await peer.enqueue('my_long_queue', 'x');
  const lease = await take();
  await lease.settle(released);
  await source.flush(never);
  t.equal(await peer.count('my_long_queue'), 1, 'back where it came from');
  t.notMatch(lines.join('\n'), /long p@ssword|long%20p/);
});

t.test('what is given back unrun is next, what failed is last, and a task that always fails is finished with its error', async (t) => {
  if (!requireRedis(t)) return;
  const place = await openPlace(t, lab);
  const peer = place.peer();
  await peer.startWorker();
  await peer.startWork('q');
  await peer.enqueue('q', 'a', 'b');
  const { source, take } = await place.open({ attempts: 2 });
  const first = await take();
  await first.settle(released);
  await until(async () => (await peer.count('q')) === 2);
  const again = await take();
  t.match(again.job, { data: 'a', attempt: 1 }, 'uncharged, and at the front');
  await again.settle(failed('once'));
  t.equal((await take()).job.data, 'b', 'the others come first');
  const second = await take();
  t.match(second.job, { data: 'a', attempt: 2 });
  await second.settle(failed('twice'));
  await source.flush(never);
  await until(() => peer.events.some(({ type }) => type === 'done'));
  const done = peer.events.find(({ type }) => type === 'done');
  t.match(JSON.parse(done?.payload ?? ''), { task: 'a', error: { message: 'twice' } });
  t.same(await place.redis.keys('peerwork-worqr:tried:*'), [], 'nothing is remembered of it');
});

t.test('a cancelled task stops here and is over; equal tasks in other hands go on', async (t) => {
  if (!requireRedis(t)) return;
  const place = await openPlace(t, lab);
  const peer = place.peer();
  await peer.startWorker();
  await peer.startWork('q');
  await peer.enqueue('q', 'same', 'same', 'same');
  const { take, source } = await place.open();
  const ours = await take();
  const theirs = await peer.dequeue('q');
  await peer.cancel('q', 'same');
  await aborted(ours.signal);
  await ours.settle(completed('too late'));
  await source.flush(never);
  await until(() => peer.events.some(({ type }) => type === 'done'));
  t.match(JSON.parse(peer.events.find(({ type }) => type === 'done')?.payload ?? ''), { task: 'same', error: { code: 'cancelled' } });
  t.equal(await peer.count('q'), 0, 'what waited is gone');
  t.equal(await place.redis.exists(`worqr:processes:${ours.job.id}`), 0);
  t.equal(await place.redis.lindex(`worqr:processes:${theirs?.id}`, 0), 'same');
});

t.test('what waits to be tried again can be cancelled, and goes back when the worker stops', async (t) => {
  if (!requireRedis(t)) return;
  const place = await openPlace(t, lab);
  const peer = place.peer();
  await peer.startWorker();
  await peer.startWork('q');
  await peer.enqueue('q', 'unwanted', 'wanted');
  const { take, unsent, close } = await place.open({ backoffMs: 3_600_000 });
  for (const lease of [await take(), await take()]) await lease.settle(failed('no'));
  t.equal(unsent(), 2);
  await peer.cancel('q', 'unwanted');
  await until(() => unsent() === 1);
  t.equal(await peer.count('q'), 0);
  await close();
  t.equal(await peer.count('q'), 1);
  t.equal(await place.redis.lindex('worqr:queues:q', -1), 'wanted');
});

t.test('a Worker that is killed: its task goes back and is done by another, what that one holds stays with it', async (t) => {
  if (!requireRedis(t)) return;
  const place = await openPlace(t, lab);
  const grid = new Grid();
  t.teardown(() => grid.close());
  const living = await place.open({ sweepMs: 3_600_000 });
  await place.producer().enqueue('q', 'of the living');
  const kept = await living.take();
  mkdirSync(join(grid.folder, 'stuck'));
  writeFileSync(join(grid.folder, 'stuck', 'task.mjs'), 'export default () => new Promise((resolve) => setTimeout(resolve, 3_600_000));\n');
  const env = { PEERWORK_WORQR_URL: lab.url, PEERWORK_WORQR_TASKS: 'q=stuck' };
  const killed = grid.start(['worker', '--name', 'doomed', '--concurrency', '1', '--sandbox', 'off'], { env });
  await killed.line(/worker starts .*sources=worqr/);
  await place.producer().enqueue('q', 'of the dead');
  await killed.line(/job id=q_/);
  await killed.stop('SIGKILL');
  const second = await place.open();
  const again = await second.take();
  t.match(again.job, { data: 'of the dead', attempt: 2 }, 'the run that died is counted');
  t.notOk(kept.signal.aborted);
  for (const lease of [again, kept]) await lease.settle(completed('fine'));
  await Promise.all([living.source.flush(never), second.source.flush(never)]);
  t.same(await place.redis.keys('worqr:processes:*'), []);
});

t.test('a task that ends every worker that takes it is finished with an error in the end', async (t) => {
  if (!requireRedis(t)) return;
  const place = await openPlace(t, lab);
  const peer = place.peer();
  await peer.startWorker();
  await peer.startWork('q');
  await peer.enqueue('q', 'poison');
  await place.redis.set(`peerwork-worqr:tried:q:${createHash('sha1').update('poison').digest('hex')}`, 3);
  const { source } = await place.open();
  t.same(await source.claim(1, AbortSignal.timeout(1_000)), []);
  await until(() => peer.events.some(({ type }) => type === 'done'));
  t.match(JSON.parse(peer.events.find(({ type }) => type === 'done')?.payload ?? ''), { error: { code: 'worker-lost' } });
});

t.test('a dead worqr worker: its tasks go back, those of living Workers of ours do not', async (t) => {
  if (!requireRedis(t)) return;
  const place = await openPlace(t, lab);
  const dying = place.peer({ timeoutSeconds: 1 });
  await dying.startWorker();
  await dying.startWork('q');
  await dying.enqueue('q', 'theirs', 'ours');
  const theirs = await dying.dequeue('q');
  t.equal(theirs?.task, 'theirs');
  const { take, source } = await place.open();
  const ours = await take();
  t.equal(ours.job.data, 'ours');
  dying.die();
  const again = await take();
  t.equal(again.job.data, 'theirs');
  t.notOk(ours.signal.aborted);
  for (const lease of [ours, again]) await lease.settle(completed('ok'));
  await source.flush(never);
  t.same(await place.redis.keys('worqr:processes:*'), []);
});

t.test('beside a living worqr worker a dead one is left to it, and what it takes from us is dropped', async (t) => {
  if (!requireRedis(t)) return;
  const place = await openPlace(t, lab);
  const [dying, living] = [place.peer({ timeoutSeconds: 1 }), place.peer({ timeoutSeconds: 3 })];
  for (const peer of [dying, living]) {
    await peer.startWorker();
    await peer.startWork('q');
  }
  await living.enqueue('q', 'ours', 'of the living');
  const { take, lines, source } = await place.open({ sweepMs: 50 });
  const ours = await take();
  const held = await living.dequeue('q');
  dying.die();
  await until(async () => (await place.redis.exists(`worqr:workerTimers:${dying.id}`)) === 0);
  const sweeps = async () => Number(/cmdstat_mget:calls=(\d+)/.exec(await place.redis.info('commandstats'))?.[1] ?? 0);
  const before = await sweeps();
  await until(async () => (await sweeps()) > before + 2);
  t.equal(await place.redis.exists(`worqr:processes:${held?.id}`), 1, 'we do not touch what the living one holds');
  t.equal(await place.redis.sismember('worqr:workers', dying.id), 1);
  await living.sweep();
  await aborted(ours.signal);
  await ours.settle(completed('dropped'));
  await source.flush(never);
  t.match(lines.join('\n'), /its process is gone from Redis/);
  t.notMatch(lines.join('\n'), /another worker has|theirs now/, 'who has it is not known');
});

for (const late of [false, true])
  t.test(`a task that others put back is looked for at once${late ? ', also if that is only found out at its end' : ''}`, async (t) => {
    if (!requireRedis(t)) return;
    const place = await openPlace(t, lab);
    const peer = place.peer();
    await peer.startWorker();
    await peer.startWork('q');
    await peer.enqueue('q', 'once more');
    // No poll within an hour, and with `late` no beat either.
    const { take, source } = await place.open({ pollMs: 3_600_000, ...(late && { workerTimeoutMs: 3_600_000 }) });
    const first = await take();
    const again = take();
    await peer.failWorker(peer.id);
    if (late) await first.settle(completed('nobody hears it'));
    else await aborted(first.signal);
    const second = await again;
    t.equal(second.job.data, 'once more');
    await second.settle(completed('ok'));
    await source.flush(never);
    t.same(await place.redis.keys('worqr:processes:*'), []);
  });

t.test('the server killed and back in the middle of a job: the job goes on, and its outcome arrives', async (t) => {
  if (!requireRedis(t)) return;
  const own = await LabRedis.start();
  t.teardown(() => own.close());
  const place = await openPlace(t, own);
  await place.producer().enqueue('q', 'long', 'later');
  const { take, source, warnings, unsent } = await place.open();
  const lease = await take();
  await own.stop('kill');
  await until(() => warnings.some(({ code }) => code === 'worqr-unreachable'));
  await lease.settle(completed('done meanwhile'));
  t.equal(unsent(), 1);
  await own.startAgain();
  await source.flush(never);
  t.notOk(lease.signal.aborted);
  await until(async () => (await place.redis.exists(`worqr:processes:${lease.job.id}`).catch(() => 1)) === 0);
  t.equal((await take()).job.data, 'later', 'and it goes on working');
});

t.test('a server that comes back empty: what was held is lost, and it goes on', async (t) => {
  if (!requireRedis(t)) return;
  const own = await LabRedis.start({ durable: false });
  t.teardown(() => own.close());
  const place = await openPlace(t, own);
  await place.producer().enqueue('q', 'long');
  const { take } = await place.open();
  const lease = await take();
  await own.stop('kill');
  await own.startAgain();
  await aborted(lease.signal);
  const producer = place.producer();
  await producer.enqueue('q', 'new');
  t.equal((await take()).job.data, 'new');
});

t.test('a server that stands still holds up nobody, and nothing that it did meanwhile is lost', async (t) => {
  if (!requireRedis(t)) return;
  const own = await LabRedis.start();
  t.teardown(() => {
    own.thaw();
    return own.close();
  });
  const place = await openPlace(t, own);
  const producer = place.producer();
  const { source, take } = await place.open({ workerTimeoutMs: 60_000 });
  t.same(await source.claim(1, AbortSignal.timeout(500)), [], 'it is connected');
  await producer.enqueue('q', 'kept');
  own.freeze();
  t.same(await source.claim(1, AbortSignal.timeout(50)), [], 'a claim that is withdrawn ends');
  own.thaw();
  // If the claim was in flight, its task was taken without a reply; it returns to the front by itself.
  t.equal((await take()).job.data, 'kept');
});

t.test('outcomes that could not be delivered are delivered by the next process, if nobody else took the task', async (t) => {
  if (!requireRedis(t)) return;
  const own = await LabRedis.start();
  t.teardown(() => own.close());
  const place = await openPlace(t, own);
  const folder = temporaryFolder(t);
  await place.producer().enqueue('q', 'a');
  const before = await place.open({ workerTimeoutMs: 60_000 }, folder);
  const lease = await before.take();
  await own.stop();
  await lease.settle(completed('kept on disk'));
  await before.close();
  await own.startAgain();
  const peer = place.peer();
  await peer.startWorker();
  await peer.startWork('q');
  const after = await place.open({ workerTimeoutMs: 60_000 }, folder);
  await after.source.flush(never);
  await until(() => peer.events.some(({ type }) => type === 'done'));
  t.match(JSON.parse(peer.events.find(({ type }) => type === 'done')?.payload ?? ''), { task: 'a', result: 'kept on disk' });
  t.equal(await peer.count('q'), 0);
});

t.test('what is set up wrongly is refused when it is made', async (t) => {
  const tasks = { q: echoTask(t) };
  const wrong = [
    { url: 'http://127.0.0.1', tasks },
    { url: 'redis://127.0.0.1', tasks: {} },
    { url: 'redis://127.0.0.1', tasks, prefix: 'a_b' },
    { url: 'redis://:50%@127.0.0.1', tasks },
    { url: 'redis://127.0.0.1', tasks, prefix: 'a:b' },
    { url: 'redis://127.0.0.1', tasks: { 'a:b': echoTask(t) } },
  ];
  for (const options of wrong)
    await t.rejects(
      async () => worqrSource(options).open({ localTask: async () => ({}), openOutbox: async () => ({}), warning: () => {} } as never),
      { code: 'option-invalid' },
      JSON.stringify(options),
    );
});
