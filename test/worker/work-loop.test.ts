import t from 'tap';
import { type Clock, systemClock } from '../../src/clock.js';
import { PeerworkError } from '../../src/errors.js';
import type { Outcome } from '../../src/job/job.js';
import type { Lease, Source } from '../../src/job/source.js';
import { execute, RELEASE_PAUSE_MS } from '../../src/worker/execute.js';
import { Capacity } from '../../src/worker/shares.js';
import { WorkLoop } from '../../src/worker/work-loop.js';
import { until } from '../lab/until.js';
import { ManualClock } from '../swarm/manual-clock.js';

/** A source with a given number of jobs, which then waits like a real one. */
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
  // Slow jobs, however quick the machine: nothing is prefetched.
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
  await until(() => source.settled.length >= 20);
  await loop.close();
  t.equal(new Set(source.settled.map(({ id }) => id)).size, 20);
  // 3 jobs of 30 ms are 100 a second: nine may be prefetched.
  t.ok(most <= 3 + 9, `${most} at once`);
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

/** Jobs that run until they are released, with a record of which source started what. */
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

interface Habit {
  readonly jobMs: number;
  /** How long its server needs to hand out available jobs. */
  readonly claimMs: number;
  /** Before this instant it has no jobs. */
  readonly fromMs?: number;
}

/**
 * Lets sources that never run out of jobs share the slots for a while; resolves with the average number of slots per source during
 * the measured time.
 */
async function shareOut(places: number, habits: readonly Habit[], { fromMs, forMs }: { fromMs: number; forMs: number }): Promise<number[]> {
  const clock = new ManualClock();
  const begunAt = clock.now();
  const usedMs = habits.map(() => 0);
  const after = (ms: number, signal?: AbortSignal) =>
    new Promise<void>((resolve) => {
      const timer = clock.after(ms, resolve);
      signal?.addEventListener('abort', () => timer.cancel(), { once: true });
      signal?.addEventListener('abort', () => resolve(), { once: true });
    });
  const sources = habits.map(({ jobMs, claimMs, fromMs = 0 }, at): Source => {
    const list = new ListSource(1_000_000, String(at));
    return {
      name: `${jobMs}-${at}`,
      claim: async (capacity, signal) => {
        await after(Math.max(claimMs, begunAt + fromMs - clock.now()), signal);
        return list.claim(capacity, signal);
      },
      flush: async () => {},
      close: async () => {},
    };
  });
  const execute = async ({ job }: Lease) => {
    const at = Number(job.id.split('-')[0]);
    const startedAt = clock.now();
    await after(habits[at]?.jobMs ?? 0);
    const measured = Math.min(clock.now(), begunAt + fromMs + forMs) - Math.max(startedAt, begunAt + fromMs);
    usedMs[at] = (usedMs[at] ?? 0) + Math.max(0, measured);
    return done;
  };
  let slow = 0;
  const capacity = new Capacity(places, () => (slow += 10_000));
  const loop = new WorkLoop({ onFault: () => {}, capacity, clock, execute, onStart: () => {}, onEnd: () => {} });
  loop.add(...sources);
  await clock.pass(fromMs + forMs);
  const closing = loop.close();
  await clock.pass(20_000);
  await closing;
  return usedMs.map((ms) => ms / forMs);
}

t.test('shares are counted in time: a source with long jobs, or with a slow server, has as much of the places as the others', async (t) => {
  const even = (shares: readonly number[], least: number, most: number, what: string) => {
    t.ok(
      shares.every((share) => share >= least && share <= most),
      `${what}: ${shares.map((share) => share.toFixed(2)).join(', ')}`,
    );
  };
  const quick = { jobMs: 100, claimMs: 0 };
  const span = { fromMs: 10_000, forMs: 60_000 };
  even(await shareOut(4, [{ jobMs: 3_000, claimMs: 0 }, quick, quick, quick, quick, quick], span), 0.55, 0.8, 'more sources than places');
  even(await shareOut(4, [{ jobMs: 3_000, claimMs: 0 }, quick], span), 1.7, 2.3, 'one with long jobs');
  even(
    await shareOut(
      4,
      [
        { jobMs: 600, claimMs: 500 },
        { jobMs: 300, claimMs: 0 },
      ],
      span,
    ),
    1.6,
    2.4,
    'one with a slow server',
  );
  even(
    await shareOut(2, [{ jobMs: 300, claimMs: 300 }, quick, quick], span),
    0.45,
    0.85,
    'one with a slow server, more sources than places',
  );
});

t.test('what a source left unused is not saved up', async (t) => {
  const late = { jobMs: 1_000, claimMs: 0, fromMs: 600_000 };
  const [early = 0, then = 0] = await shareOut(1, [{ jobMs: 1_000, claimMs: 0 }, late], { fromMs: 620_000, forMs: 60_000 });
  t.ok(early > 0.4 && then > 0.4, `${early.toFixed(2)} and ${then.toFixed(2)}, ten minutes after the first`);
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
      {
        runner: async () => runner,
        clock,
        prepare: () => Promise.reject(new PeerworkError(code)),
        fetchFiles: () => Promise.reject(new Error('unused')),
      },
      { ...lease, job: lease.job, signal: lease.signal, runner: 'test', task, report: () => {}, settle: async () => {} },
      new AbortController().signal,
    );
  t.match(await outcomeOf('asset-unknown'), { state: 'released' });
  t.same(pauses, [RELEASE_PAUSE_MS]);
  t.match(await outcomeOf('manifest-unsigned'), { state: 'failed', error: { code: 'manifest-unsigned' } });
  t.same(pauses, [RELEASE_PAUSE_MS]);
});
