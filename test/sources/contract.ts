import type { Test } from 'tap';
import { systemClock } from '../../src/clock.js';
import type { Outcome } from '../../src/job/job.js';
import type { Lease, Source } from '../../src/job/source.js';
import type { SourceSetup } from '../../src/sources/setup.js';
import { aborted, type OpenSource, openSource, temporaryFolder } from '../lab/open-source.js';
import { until } from '../lab/until.js';

/** A job's state on the server of a source. `waiting`: it can be claimed, now or later. */
export type JobState = 'waiting' | 'held' | 'completed' | 'failed';

/** A source with a real server, controlled by the suite. */
export interface Bed {
  readonly setup: SourceSetup;
  /** Kinds of runners that its Worker has; default `task-module`. */
  readonly runners?: readonly string[];
  /** Adds a job that can be claimed. Resolves to the server's name for it. */
  push(): Promise<string>;
  /** Returns the server's name for the job of a lease; default its id. */
  nameOf?(lease: Lease): string;
  state(name: string): Promise<JobState> | JobState;
  /** Plays the runner until it settles with `outcome`; default: does nothing. */
  run?(lease: Lease, outcome: Outcome): Promise<void>;
  /** The outcome of a successful run; default: any output. */
  readonly output?: Outcome & { readonly state: 'completed' };
  /** Stops the server as if killed; `restart` brings it back with what it had stored. */
  kill(): Promise<unknown>;
  restart(): Promise<unknown>;
  /** Cancels a running job or gives it to another worker; absent if the wire supports neither. */
  takeAway?(name: string, lease: Lease): Promise<unknown>;
  /** Makes the server send invalid responses until the returned function is called. */
  misbehave(): Promise<() => Promise<unknown> | unknown>;
}

/** What a wire cannot do although others can, and why. */
export interface Exceptions {
  /** Released jobs do not return to the same Worker. */
  readonly neverGivesBack?: string;
  /** Outcomes do not survive the process. */
  readonly keepsNothing?: string;
  /** Its server rejects clients whose clock is wrong. */
  readonly needsTheTime?: string;
}

const never = new AbortController().signal;
const failed: Outcome = { state: 'failed', error: { code: 'task-threw', message: 'no' }, retry: false };
const released: Outcome = { state: 'released', reason: 'the worker stops' };
const HOUR_MS = 3_600_000;

/** What every source promises to its Worker, whatever protocol it speaks. `open` creates a bed that ends with the test. */
export function sourceContract(t: Test, name: string, open: (t: Test) => Promise<Bed>, exceptions: Exceptions = {}): void {
  const start = async (t: Test) => {
    const bed = await open(t);
    const folder = temporaryFolder(t, 'source');
    const openAgain = (clock = systemClock): Promise<OpenSource> => openSource(t, bed.setup, folder, bed.runners, clock);
    const nameOf = (lease: Lease) => bed.nameOf?.(lease) ?? lease.job.id;
    const completed = bed.output ?? { state: 'completed', output: { ok: true } };
    const reaches = (job: string, ...states: readonly JobState[]) => until(async () => states.includes(await bed.state(job)));
    const finish = async (lease: Lease, outcome: Outcome = completed) => {
      await bed.run?.(lease, outcome);
      await lease.settle(outcome);
    };
    /** Completes whatever arrives until the job has reached the state. */
    const workUntil = async (source: Source, job: string, state: JobState = 'completed') => {
      const done = new AbortController();
      const work = (async () => {
        while (!done.signal.aborted) {
          const leases = await source.claim(1, done.signal);
          // A closed source returns at once: the test is over.
          if (leases.length === 0) return;
          for (const lease of leases) void finish(lease);
        }
      })();
      await reaches(job, state);
      done.abort();
      await work;
    };
    return { bed, openAgain, nameOf, completed, reaches, finish, workUntil };
  };

  t.test(`${name}: a claim brings jobs up to its capacity, each is settled once`, async (t) => {
    const { bed, openAgain, nameOf, finish, reaches } = await start(t);
    const pushed = [await bed.push(), await bed.push(), await bed.push()];
    const { source, unsent } = await openAgain();
    const seen = new Map<string, Lease>();
    while (seen.size < pushed.length) {
      const leases = await source.claim(2, never);
      t.ok(leases.length >= 1 && leases.length <= 2, 'no more than asked for, and never none');
      for (const lease of leases) {
        t.notOk(seen.has(nameOf(lease)), 'no job comes twice');
        seen.set(nameOf(lease), lease);
      }
      // A wire that runs one job at a time needs the slot.
      for (const lease of leases) await finish(lease);
    }
    t.same([...seen.keys()].sort(), [...pushed].sort());
    for (const lease of seen.values()) await lease.settle(failed);
    await source.flush(never);
    for (const job of pushed) await reaches(job, 'completed');
    await until(() => unsent() === 0);
  });

  t.test(`${name}: a claim that is withdrawn brings nothing and loses nothing`, async (t) => {
    const { bed, openAgain, workUntil } = await start(t);
    const { source } = await openAgain();
    for (let times = 0; times < 3; times += 1) {
      const withdrawn = new AbortController();
      const claim = source.claim(1, withdrawn.signal);
      withdrawn.abort();
      t.same(await claim, []);
    }
    await workUntil(source, await bed.push());
  });

  t.test(`${name}: a failure that is not to be tried again is the end of the job`, async (t) => {
    const { bed, openAgain, finish, reaches } = await start(t);
    const job = await bed.push();
    const { source, take } = await openAgain();
    await finish(await take(), failed);
    await source.flush(never);
    await reaches(job, 'failed', 'waiting');
    t.not(await bed.state(job), 'completed');
  });

  t.test(`${name}: what is given back comes again`, { skip: exceptions.neverGivesBack ?? false }, async (t) => {
    const { bed, openAgain, nameOf, workUntil } = await start(t);
    const job = await bed.push();
    const { source, take } = await openAgain();
    const lease = await take();
    t.equal(nameOf(lease), job);
    await lease.settle(released);
    await workUntil(source, job);
  });

  t.test(`${name}: a job that is taken away: its run is told, and what it settles is dropped`, async (t) => {
    const { bed, openAgain, finish } = await start(t);
    if (bed.takeAway === undefined) {
      t.pass('the wire has no word for it');
      return;
    }
    const job = await bed.push();
    const { source, take } = await openAgain();
    const lease = await take();
    await bed.takeAway(job, lease);
    await aborted(lease.signal);
    await finish(lease).catch(() => {});
    await source.flush(AbortSignal.timeout(30_000));
    t.not(await bed.state(job), 'completed');
  });

  t.test(`${name}: the server away and back in the middle of a job: its outcome arrives, and the work goes on`, async (t) => {
    const { bed, openAgain, completed, reaches, workUntil } = await start(t);
    const job = await bed.push();
    const { source, take } = await openAgain();
    const lease = await take();
    await bed.run?.(lease, completed);
    await bed.kill();
    await lease.settle(completed);
    t.not(await Promise.resolve(bed.state(job)).catch(() => 'held'), 'completed');
    await bed.restart();
    await reaches(job, 'completed');
    await workUntil(source, await bed.push());
  });

  t.test(
    `${name}: an outcome that its server did not take is delivered by the next process`,
    { skip: exceptions.keepsNothing ?? false },
    async (t) => {
      const { bed, openAgain, completed, reaches } = await start(t);
      const job = await bed.push();
      const before = await openAgain();
      const lease = await before.take();
      await bed.run?.(lease, completed);
      await bed.kill();
      await lease.settle(completed);
      await before.close();
      await bed.restart();
      const after = await openAgain();
      await reaches(job, 'completed');
      await after.source.flush(never);
      await until(() => after.unsent() === 0);
    },
  );

  t.test(`${name}: drained, it has delivered everything; closed, it gives nothing any more`, async (t) => {
    const { bed, openAgain, finish } = await start(t);
    const job = await bed.push();
    const { source, take, close, unsent } = await openAgain();
    await finish(await take());
    await source.flush(never);
    t.equal(await bed.state(job), 'completed');
    t.equal(unsent(), 0);
    const open = source.claim(1, never);
    await close();
    t.same(await open, [], 'an open claim ends');
    t.same(await source.claim(1, never), []);
    await source.close();
  });

  t.test(`${name}: a server that sends what nobody should ends nothing`, async (t) => {
    const { bed, openAgain, workUntil } = await start(t);
    const { source } = await openAgain();
    const stopMisbehaving = await bed.misbehave();
    const tired = new AbortController();
    const claim = source.claim(1, tired.signal);
    await new Promise((resolve) => setTimeout(resolve, 500));
    tired.abort();
    for (const lease of await claim) await lease.settle(failed);
    await stopMisbehaving();
    await workUntil(source, await bed.push());
  });

  t.test(`${name}: a clock that is set, either way, changes nothing`, { skip: exceptions.needsTheTime ?? false }, async (t) => {
    const { bed, openAgain, finish, reaches, workUntil } = await start(t);
    let offsetMs = 0;
    const clock = { ...systemClock, wall: () => systemClock.wall() + offsetMs };
    const { source, take } = await openAgain(clock);
    for (const jumpMs of [HOUR_MS, -2 * HOUR_MS]) {
      const job = await bed.push();
      const lease = await take();
      offsetMs += jumpMs;
      t.notOk(lease.signal.aborted);
      await finish(lease);
      await reaches(job, 'completed');
      await workUntil(source, await bed.push());
    }
  });
}
