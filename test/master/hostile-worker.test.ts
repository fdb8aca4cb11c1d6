import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Master } from '../../src/index.js';
import type { ChildInput, Json } from '../../src/job/job.js';
import { PREFETCH_JOBS } from '../../src/job/limits.js';
import type { WorkItem } from '../../src/job/verbs.js';
import { createKeyPair, type KeyPair } from '../../src/swarm/identity.js';
import { parseToken } from '../../src/swarm/token.js';
import { seededRandom } from '../lab/seeded-random.js';
import { until } from '../lab/until.js';
import { primitives, startTracker, startWorker } from '../swarm/grid.js';

/** Starts a Master with a task for `default`, which declares `pages` for children, and one for `other`. */
async function setUp(t: Test, leaseMs = 30_000) {
  const folder = t.testdir();
  for (const name of ['task', 'other']) {
    mkdirSync(join(folder, name));
    writeFileSync(join(folder, name, 'task.mjs'), 'export default (data) => data;');
  }
  writeFileSync(join(folder, 'task', 'task.json'), '{"runner":"task-module","children":{"channels":["pages"]}}');
  const tracker = await startTracker(t);
  const master = new Master({
    trackers: [tracker.url],
    ice: [],
    loglevel: 'off',
    ledger: 'memory:',
    task: { default: join(folder, 'task'), other: join(folder, 'other') },
    leaseMs,
  });
  t.teardown(() => master.close());
  await master.ready;
  const { ledger } = await master.service;
  /** Joins a peer that has a valid token and sends whatever it likes. */
  const join_ = async (identity: KeyPair = createKeyPair(primitives), name = 'hostile') => {
    const cancelled: unknown[] = [];
    const peer = startWorker(t, {
      token: parseToken(master.token),
      trackers: [tracker.url],
      identity,
      name,
      accept: () => ({ notes: { cancelWork: (args) => void cancelled.push(args) } }),
    });
    await until(() => peer.connected.length > 0);
    const rpc = () => (peer.connected.at(-1) as (typeof peer.connected)[number]).rpc;
    const call = (verb: string, args: unknown, timeoutMs = 20_000) => rpc().call(verb, args, { timeoutMs });
    const greet = (concurrency: number, holding: unknown[] = []) =>
      call('isMaster', { version: '1', concurrency, isolation: '', platform: '', runners: ['task-module'], instance: 'i', holding });
    const work = async (capacity: number): Promise<WorkItem[]> => {
      const asked = call('requestWork', { capacity });
      // If there is no job, the next request ends this one with nothing.
      const pause = new Promise((resolve) => setTimeout(resolve, 300));
      await Promise.race([asked, pause]);
      await call('requestWork', { capacity: 0 });
      return ((await asked) as { work: WorkItem[] }).work;
    };
    const settle = (item: { id: string; lease: number }, outcome: unknown, times: object = {}) =>
      call('shareResults', { results: [{ id: item.id, lease: item.lease, outcome, startedAt: 1, finishedAt: 2, ...times }] });
    return { ...peer, call, greet, work, settle, cancelled, notify: (verb: string, args: unknown) => rpc().notify(verb, args) };
  };
  return { master, ledger, join: join_ };
}

const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'answered',
    (error: { code: string }) => error.code,
  );
const key = ({ id, lease }: WorkItem) => ({ id, lease });
const jobs = (count: number, more: object = {}) => Array.from({ length: count }, (_, at) => ({ id: `j${at}`, data: at, ...more }));

t.test('a Worker gets what it announced and a small prefetch, however often it asks and announces', async (t) => {
  const { master, ledger, join } = await setUp(t);
  await master.push(jobs(2_000));
  const identity = createKeyPair(primitives);
  const worker = await join(identity);
  t.equal(await codeOf(worker.work(1)), 'rpc-invalid', 'nothing before it has announced itself');
  await worker.greet(1);
  t.equal(await codeOf(worker.greet(1_000)), 'rpc-invalid', 'what it announced does not rise');
  t.equal(await codeOf(worker.greet(10_000_000)), 'rpc-invalid');
  const held = await worker.work(10_000);
  t.equal(held.length, 1 + PREFETCH_JOBS);
  t.same(await worker.work(10_000), []);
  await worker.greet(1, held.map(key));
  t.same(await worker.work(10_000), []);
  await worker.swarm.close();
  const again = await join(identity);
  await again.greet(1, held.map(key));
  t.same(await again.work(10_000), [], 'nor over another link');
  t.match(await ledger.counts(), { leased: 1 + PREFETCH_JOBS });
  const honest = await join();
  await honest.greet(2);
  t.equal((await honest.work(2)).length, 2, 'others are given theirs');
  for (const item of held.slice(0, 4)) await again.settle(item, { state: 'completed', output: null });
  const more = await again.work(10_000);
  t.ok(more.length >= 4 && more.length < 100, `whoever works is given more: ${more.length}`);
});

t.test('a run over its time is ended by the Master, whoever renews it, and its Worker is told', async (t) => {
  const { master, ledger, join } = await setUp(t);
  const settled: unknown[] = [];
  master.on('settled', (job) => settled.push(job));
  await master.push({ id: 'a', data: 1, timeoutMs: 100, attempts: 1 });
  const worker = await join();
  await worker.greet(1);
  const [item] = await worker.work(1);
  let beats = 0;
  while (settled.length === 0) {
    await worker.call('ping', { holding: [key(item as WorkItem)] });
    beats += 1;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  t.ok(beats > 10);
  t.match(settled, [{ id: 'a', state: 'failed', error: { code: 'timeout' } }]);
  await until(() => worker.cancelled.length > 0);
  t.same(worker.cancelled, [{ leases: [{ id: 'a', lease: 1 }] }]);
  t.match(await worker.call('ping', { holding: [key(item as WorkItem)] }), { lost: [{ id: 'a' }] });
  t.match(await worker.settle(item as WorkItem, { state: 'completed', output: 1 }), { answers: ['stale'] });
  t.match(await ledger.get('a'), { state: 'failed' });
});

t.test('children, holds and times beyond what a run may', async (t) => {
  const { master, ledger, join } = await setUp(t);
  await master.push(jobs(8, { attempts: 1, workgroup: 'w' }));
  const worker = await join();
  await worker.greet(4);
  const items = await worker.work(8);
  const complete = async (more: object, times: object = {}) => {
    const item = items.shift() as WorkItem;
    await worker.settle(item, { state: 'completed', output: 1, ...more }, times);
    return ledger.get(item.id);
  };
  const child = (more: Partial<ChildInput> = {}): ChildInput => ({ data: 1, ...more });
  const many = Array.from({ length: 10_000 }, () => child({ channel: 'other', priority: 1_000_000 }));
  t.match(await complete({ children: many }), { state: 'failed', settled: { error: { code: 'children-invalid', message: /"other"/ } } });
  t.match(await complete({ children: [child({ priority: 1 })] }), { settled: { error: { code: 'children-invalid' } } });
  t.match(await complete({ children: [child({ channel: 'pages' }), child()] }), { state: 'completed' });
  t.match(await complete({ holdMs: 315_360_000_000 }), { state: 'failed', settled: { error: { code: 'hold-too-long' } } });
  t.notOk((await ledger.getWorkgroup('w'))?.heldUntil);
  const before = Date.now() - 60_000;
  const odd = await complete({}, { startedAt: 8_640_000_000_000_000, finishedAt: 0 });
  const { startedAt = 0, finishedAt = 0 } = odd ?? {};
  t.ok(before < startedAt && startedAt <= finishedAt && finishedAt <= Date.now());
  t.match(await ledger.counts(), { ready: 2, leased: 3 });
});

t.test('beats without end keep nobody waiting, and nobody is taken for silent', async (t) => {
  const { master, ledger, join } = await setUp(t);
  await master.push(jobs(3));
  const idle = await join(undefined, 'idle');
  await idle.greet(1);
  const [item] = await idle.work(1);
  const worker = await join();
  await worker.greet(1);
  const holding = Array.from({ length: 10_000 }, (_, at) => ({ id: `none-${at}`, lease: 1 }));
  let over = false;
  let asked = 0;
  const asking = (async () => {
    for (; !over; asked += 1) await ledger.lastSettled();
  })();
  const codes: string[] = [];
  await Promise.all(Array.from({ length: 20 }, async () => codes.push(await codeOf(worker.call('ping', { holding }, 60_000)))));
  for (let round = 0; round < 50; round += 1)
    await Promise.all(Array.from({ length: 200 }, async () => codes.push(await codeOf(worker.call('ping', { holding: [] }, 60_000)))));
  over = true;
  await asking;
  t.ok(asked > 50, `the ledger answered ${asked} others meanwhile`);
  t.ok(codes.slice(0, 20).includes('rpc-overloaded'), 'what is too much is refused');
  t.ok(codes.slice(0, 20).includes('answered'));
  t.same([idle.disconnected.length, worker.disconnected.length], [0, 0]);
  t.match(await idle.call('ping', { holding: [key(item as WorkItem)] }), { lost: [] });
});

t.test('whoever is revoked goes on with nothing, and what it ran begins elsewhere at once, uncharged', async (t) => {
  const { master, ledger, join } = await setUp(t);
  await master.push(jobs(1));
  const worker = await join();
  await worker.greet(1);
  const [item] = await worker.work(1);
  const [known] = master.workers();
  const service = await master.service;
  await service.mark({ id: known?.id ?? '', name: 'hostile' }, { revoked: true });
  t.match(await ledger.get('j0'), { state: 'ready', attempts: { made: 0 } });
  await until(() => worker.disconnected.length > 0);
  t.not(await codeOf(worker.call('ping', { holding: [key(item as WorkItem)] })), 'answered');
  await t.rejects(service.settle({ id: known?.id ?? '', name: 'hostile' }, []), { code: 'worker-revoked' });
  await t.rejects(service.extend({ id: known?.id ?? '', name: 'hostile' }, []), { code: 'worker-revoked' });
});

t.test('3,000 seeded calls of a Worker that follows no rules: no job is lost, none of others is touched', async (t) => {
  const { master, ledger, join } = await setUp(t);
  const random = seededRandom(7);
  await master.push(jobs(200, { attempts: 1_000, backoffMs: 0, workgroup: 'w' }));
  await master.push(Array.from({ length: 20 }, (_, at) => ({ id: `o${at}`, data: at, channel: 'other' })));
  const honest = await join(undefined, 'honest');
  await honest.greet(8);
  const own = await honest.work(8);
  t.equal(own.length, 8);
  const worker = await join();
  await worker.greet(2);
  let held: { id: string; lease: number }[] = [];
  const anyKey = () =>
    random.pick([...held, ...own.map(key), { id: `j${random.below(300)}`, lease: 1 + random.below(4) }] as [{ id: string; lease: number }]);
  const keys = () => Array.from({ length: random.below(6) }, anyKey);
  const odd = (): Json => random.pick([null, -1, 1e15, 1e300, '', 'x'.repeat(300), [], {}, true, [[]], '\u0000', 0.5]);
  const maybe = <T>(value: T): T | Json => (random.below(12) === 0 ? odd() : value);
  const outcome = () =>
    random.pick<() => unknown>([
      () => ({ state: 'completed', output: maybe(1), holdMs: maybe(random.pick([0, 1, 10 ** 12])), childrenDelayMs: maybe(0) }),
      () => ({
        state: 'completed',
        output: 1,
        children: [{ data: 1, channel: maybe(random.pick(['other', 'none'])), priority: maybe(5), persistent: maybe(true) }],
      }),
      () => ({ state: 'failed', error: { code: maybe('x'), message: maybe('y') }, retry: maybe(true) }),
      () => ({ state: 'released', reason: maybe('because') }),
      () => maybe({ state: 'done' }),
    ])();
  const verbs: (() => Promise<unknown>)[] = [
    async () => {
      const { work } = (await worker.call('requestWork', { capacity: maybe(random.below(100)) })) as { work: WorkItem[] };
      held.push(...work.map(key));
    },
    () => worker.call('requestWork', { capacity: 0 }),
    async () => {
      const { lost } = (await worker.call('ping', { holding: maybe(keys()), waiting: maybe(keys()) })) as {
        lost: { id: string; lease: number }[];
      };
      held = held.filter((one) => !lost.some(({ id, lease }) => id === one.id && lease === one.lease));
    },
    () =>
      worker.call('shareResults', {
        results: maybe(keys().map((one) => ({ ...one, outcome: outcome(), startedAt: maybe(1), finishedAt: maybe(2) }))),
      }),
    async () =>
      worker.notify('report', { reports: maybe(keys().map((one) => ({ ...one, progress: maybe({ kind: 'progress', value: odd() }) }))) }),
    () =>
      worker.call('isMaster', {
        version: '1',
        concurrency: maybe(2),
        isolation: '',
        platform: '',
        runners: ['task-module'],
        instance: maybe('i'),
        holding: maybe(held),
      }),
    () => worker.call('requestExecAssets', { digest: maybe('a'.repeat(64)) }),
    () => worker.call(random.pick(['constructor', 'toString', 'cancelWork', 'requestTheMoon']), odd()),
  ];
  const open = new Set<Promise<unknown>>();
  for (let made = 0; made < 3_000; made += 1) {
    const one = random
      .pick(verbs as [() => Promise<unknown>])()
      .catch(() => {});
    const done = Promise.race([one, new Promise((resolve) => setTimeout(resolve, 2_000))]).finally(() => open.delete(done));
    open.add(done);
    if (open.size >= 16) await Promise.race(open);
  }
  await Promise.all(open);
  t.same(
    worker.disconnected.map(({ error }) => [error.message, String(error.cause)]),
    [],
  );
  const { ready, leased, completed, failed, blocked, cancelled } = await ledger.counts();
  const sum = ready + leased + completed + failed + blocked + cancelled;
  t.equal(sum, 220, 'no job is lost, and none was made');
  t.ok(leased <= 8 + 2 + 1_000, 'and few are held');
  for (const item of own) t.match(await ledger.get(item.id), { state: 'leased', lease: item.lease, worker: { name: 'honest' } });
  t.match(await honest.call('ping', { holding: own.map(key) }), { lost: [] });
  for (const item of own) t.match(await honest.settle(item, { state: 'completed', output: 1 }), { answers: ['settled'] });
});
