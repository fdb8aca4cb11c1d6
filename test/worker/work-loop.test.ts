import t from 'tap';
import { type Clock, systemClock } from '../../src/clock.js';
import { PeerworkError } from '../../src/errors.js';
import type { Outcome } from '../../src/job/job.js';
import type { Lease, Source } from '../../src/job/source.js';
import { Capacity } from '../../src/worker/capacity.js';
import { execute, RELEASE_PAUSE_MS } from '../../src/worker/execute.js';
import { WorkLoop } from '../../src/worker/work-loop.js';

/** A source with a given number of jobs, which then waits as a real one would. */
class ListSource implements Source {
  readonly name: string;
  readonly settled: { id: string; outcome: Outcome }[] = [];
  readonly asked: number[] = [];
  withdrawn = 0;
  #left: number;
  #arrived: () => void = () => {};

  constructor(jobs: number, name = 'list') {
    this.#left = jobs;
    this.name = name;
  }

  add(jobs: number): void {
    this.#left += jobs;
    this.#arrived();
  }

  async claim(capacity: number, signal: AbortSignal): Promise<Lease[]> {
    this.asked.push(capacity);
    while (this.#left === 0 && !signal.aborted) {
      await new Promise<void>((resolve) => {
        this.#arrived = resolve;
        signal.addEventListener('abort', () => resolve(), { once: true });
      });
    }
    if (signal.aborted) this.withdrawn += 1;
    const count = signal.aborted ? 0 : Math.min(capacity, this.#left);
    const first = this.#left;
    this.#left -= count;
    return Array.from({ length: count }, (_, at) => this.#lease(`${this.name}-${first - at}`));
  }

  async flush(): Promise<void> {}
  async close(): Promise<void> {}

  #lease(id: string): Lease {
    return {
      job: { id, channel: 'default', data: null, attempt: 1, timeoutMs: 0 },
      runner: 'test',
      signal: new AbortController().signal,
      report: () => {},
      settle: async (outcome) => void this.settled.push({ id, outcome }),
    };
  }
}

function start(
  sources: Source | readonly Source[],
  concurrency: number,
  execute: (lease: Lease, stop: AbortSignal) => Promise<Outcome>,
  onFault: (source: Source, fault: unknown) => void = () => {},
): WorkLoop {
  let now = 0;
  // Slow jobs, however quick the machine: nothing is fetched ahead.
  const slow = () => (now += 10_000);
  const capacity = new Capacity(concurrency, [sources].flat().length > 1 ? slow : Date.now);
  const all = [sources].flat();
  const loop = new WorkLoop({ onFault, capacity, clock: systemClock, execute, onStart: () => {}, onEnd: () => {} });
  loop.add(...all);
  return loop;
}

const done: Outcome = { state: 'completed', output: null };

t.test('every job is executed and settled once, never more at a time than wanted', async (t) => {
  const source = new ListSource(20);
  let running = 0;
  let most = 0;
  const loop = start(source, 3, async () => {
    running += 1;
    most = Math.max(most, running);
    await new Promise((resolve) => setTimeout(resolve, 30));
    running -= 1;
    return done;
  });
  while (source.settled.length < 20) await new Promise((resolve) => setTimeout(resolve, 10));
  await loop.close();
  t.equal(new Set(source.settled.map(({ id }) => id)).size, 20);
  // 3 jobs of 30 ms are 100 a second: five may be fetched ahead.
  t.ok(most <= 3 + 5, `${most} at once`);
});

t.test('a drain lets running jobs finish and claims no more', async (t) => {
  const source = new ListSource(10);
  const loop = start(source, 2, async () => {
    await new Promise((resolve) => setTimeout(resolve, 50));
    return done;
  });
  await new Promise((resolve) => setTimeout(resolve, 20));
  await loop.drain(10_000);
  t.equal(loop.running, 0);
  t.match(source.settled, [{ outcome: done }, { outcome: done }]);
  t.equal(source.settled.length, 2);
});

t.test('what outlasts the grace of a drain is told to stop', async (t) => {
  const source = new ListSource(1);
  const loop = start(source, 1, async (_, stop) => {
    await new Promise((resolve) => stop.addEventListener('abort', resolve, { once: true }));
    return { state: 'released', reason: 'stopped' };
  });
  await new Promise((resolve) => setTimeout(resolve, 20));
  await loop.drain(10);
  t.match(source.settled, [{ outcome: { state: 'released' } }]);
});

/** Jobs that run until they are let go, and what has been started of which source. */
function gate() {
  const started: string[] = [];
  const waiting: (() => void)[] = [];
  const execute = (lease: Lease): Promise<Outcome> => {
    started.push(lease.job.id.split('-')[0] ?? '');
    return new Promise((resolve) => waiting.push(() => resolve(done)));
  };
  const count = (name: string) => started.filter((each) => each === name).length;
  return { started, count, execute, letGo: () => waiting.shift()?.() };
}

const until = async (met: () => boolean) => {
  while (!met()) await new Promise((resolve) => setTimeout(resolve, 5));
};

t.test('two sources with enough to do get the same share, and never more together than there are places', async (t) => {
  const [a, b] = [new ListSource(50, 'a'), new ListSource(50, 'b')];
  const jobs = gate();
  const loop = start([a, b], 4, jobs.execute);
  await until(() => jobs.started.length === 4);
  t.same([jobs.count('a'), jobs.count('b')], [2, 2]);
  for (let ended = 1; ended <= 20; ended += 1) {
    jobs.letGo();
    await until(() => jobs.started.length >= 4 + ended);
    t.ok(loop.running <= 4 + 1, `${loop.running} held`);
  }
  t.ok(Math.abs(jobs.count('a') - jobs.count('b')) <= 2, `${jobs.count('a')} and ${jobs.count('b')}`);
  const closing = loop.close();
  while (loop.running > 0) {
    jobs.letGo();
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await closing;
});

t.test('a source that is idle leaves its places to the others, and has one as soon as it has a job', async (t) => {
  const [busy, idle] = [new ListSource(100, 'busy'), new ListSource(0, 'idle')];
  const jobs = gate();
  const loop = start([busy, idle], 4, jobs.execute);
  await until(() => jobs.count('busy') === 4);
  t.pass('all four places');
  await until(() => idle.withdrawn === 1);
  t.pass('and no claim stands open beside them');
  idle.add(1);
  jobs.letGo();
  await until(() => jobs.count('idle') === 1);
  t.ok(jobs.count('busy') <= 5);
  const closing = loop.close();
  while (loop.running > 0) {
    jobs.letGo();
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await closing;
});

t.test('a claim that fails is told and does not stop the others', async (t) => {
  const faults: unknown[] = [];
  const broken: Source = {
    name: 'broken',
    claim: () => Promise.reject(new Error('as it should not')),
    flush: async () => {},
    close: async () => {},
  };
  const good = new ListSource(5, 'good');
  const loop = start(
    [broken, good],
    1,
    async () => done,
    (_, fault) => faults.push(fault),
  );
  await until(() => good.settled.length === 5);
  await loop.close();
  t.ok(faults.length > 0);
});

t.test('capacity follows the rate: quick jobs are fetched ahead, slow ones never', (t) => {
  let now = 0;
  const capacity = new Capacity(4, () => now);
  t.equal(capacity.target, 4);
  for (let job = 0; job < 10; job += 1) {
    now += 1_000;
    capacity.count();
  }
  t.equal(capacity.target, 4, 'one a second');
  for (let job = 0; job < 2_000; job += 1) {
    if (job % 5 === 0) now += 1;
    capacity.count();
  }
  t.ok(capacity.target > 150, `5 a millisecond: ${capacity.target}`);
  now += 10_000;
  t.equal(capacity.target, 4, 'after a pause');
  t.end();
});

t.test('what cannot be prepared because of the link is given back after a pause; what is wrong with the task fails', async (t) => {
  const [lease] = await new ListSource(1).claim(1, new AbortController().signal);
  if (lease === undefined) return t.fail('no lease');
  const pauses: number[] = [];
  const clock: Clock = {
    now: () => 0,
    wall: () => 0,
    after(delayMs, action) {
      pauses.push(delayMs);
      queueMicrotask(action);
      return { cancel: () => {} };
    },
  };
  const runner = { kind: 'test', isolation: '', run: async () => done, close: async () => {} };
  const task = { digest: 'd', publisher: 'p', manifest: () => Promise.reject(new Error('unused')), blob: () => [] as never };
  const outcomeOf = (code: 'asset-unknown' | 'manifest-unsigned') =>
    execute(
      { runner: async () => runner, clock, prepare: () => Promise.reject(new PeerworkError(code)) },
      { ...lease, job: lease.job, signal: lease.signal, runner: 'test', task, report: () => {}, settle: async () => {} },
      new AbortController().signal,
    );
  t.match(await outcomeOf('asset-unknown'), { state: 'released' });
  t.same(pauses, [RELEASE_PAUSE_MS]);
  t.match(await outcomeOf('manifest-unsigned'), { state: 'failed', error: { code: 'manifest-unsigned' } });
  t.same(pauses, [RELEASE_PAUSE_MS]);
});
