import t, { type Test } from 'tap';
import type { JobError, JobInput, Json } from '../../src/job/job.js';
import type { Settlement } from '../../src/job/verbs.js';
import type { LeasedJob, Ledger, WorkerRef } from '../../src/ledger/ledger.js';
import { engines, expire, nextWakeAt } from './engines.js';

/** The rules that every engine must obey, one test each. */

const ann: WorkerRef = { id: 'key-of-ann', name: 'ann' };
const bob: WorkerRef = { id: 'key-of-bob', name: 'bob' };
const NOW = 1_700_000_000_000;
const LEASE_MS = 30_000;

type Run = Pick<LeasedJob, 'id' | 'lease'>;
const completed = (run: Run, output: Json = null, startedAt = NOW, finishedAt = NOW): Settlement => ({
  id: run.id,
  lease: run.lease,
  outcome: { state: 'completed', output },
  startedAt,
  finishedAt,
});
const failed = (run: Run, retry = true, error: JobError = { code: 'task-threw', message: 'oh' }): Settlement => ({
  ...completed(run),
  outcome: { state: 'failed', error, retry },
});
const released = (run: Run): Settlement => ({ ...completed(run), outcome: { state: 'released', reason: 'drain' } });
const unknownRun: Run = { id: 'there is no such job', lease: 1 };

const claim = (ledger: Ledger, worker = ann, limit = 100, now = NOW, channels: readonly string[] = ['default']) =>
  ledger.claim({ worker, channels, limit, until: now + LEASE_MS }, now);
const one = async (ledger: Ledger, worker = ann, now = NOW): Promise<LeasedJob> => {
  const [job] = await claim(ledger, worker, 1, now);
  if (job === undefined) throw new Error('nothing to claim');
  return job;
};
const ids = (jobs: readonly { id: string }[]) => jobs.map((job) => job.id).join(' ');
const jobs = (...names: string[]): JobInput[] => names.map((id) => ({ id, data: null }));

for (const engine of engines) {
  const test = (name: string, body: (t: Test, ledger: Ledger) => Promise<void>) =>
    t.test(`${engine.name}: ${name}`, async (t) => body(t, (await engine.open(t, () => 0)).ledger));

  test('jobs are leased in the order of priority, then of arrival', async (t, ledger) => {
    await ledger.add([...jobs('a', 'b'), { id: 'urgent', data: null, priority: 5 }, { id: 'idle', data: null, priority: -1 }], NOW);
    await ledger.add([{ id: 'urgent-too', data: null, priority: 5 }], NOW);
    t.equal(ids(await claim(ledger, ann, 3)), 'urgent urgent-too a');
    t.equal(ids(await claim(ledger, bob, 3)), 'b idle');
    t.strictSame(await claim(ledger), []);
  });

  test('a claim takes only from its channels, priority first across them', async (t, ledger) => {
    await ledger.add(
      [
        { id: 'a1', data: null, channel: 'a' },
        { id: 'b1', data: null, channel: 'b' },
        { id: 'c1', data: null, channel: 'c' },
        { id: 'b2', data: null, channel: 'b', priority: 1 },
        { id: 'a2', data: null, channel: 'a' },
      ],
      NOW,
    );
    t.strictSame(await claim(ledger, ann, 9, NOW, []), []);
    t.strictSame(await claim(ledger, ann, 0, NOW, ['a']), []);
    t.equal(ids(await claim(ledger, ann, 3, NOW, ['a', 'b', 'a'])), 'b2 a1 b1');
    t.equal(ids(await claim(ledger, ann, 9, NOW, ['a', 'b'])), 'a2');
    t.equal(ids(await claim(ledger, ann, 9, NOW, ['c'])), 'c1');
  });

  test('a leased job carries what it was added with, falsy values too', async (t, ledger) => {
    const values: Json[] = [0, '', false, null, [], {}, { a: [1, 'é😀\u0000', null] }];
    await ledger.add(
      values.map((data, index) => ({ id: `j${index}`, data, timeoutMs: index, channel: 'x' })),
      NOW,
    );
    const leased = await claim(ledger, ann, 100, NOW, ['x']);
    t.strictSame(
      leased.map((job) => JSON.parse(job.data)),
      values,
    );
    t.strictSame(leased[0], { id: 'j0', lease: 1, channel: 'x', data: '0', attempt: 1, timeoutMs: 0 });
    await ledger.add([{ data: 1 }], NOW);
    t.equal((await one(ledger)).timeoutMs, undefined, 'no time limit of its own');
  });

  test('an id that is known already is left as it is', async (t, ledger) => {
    t.strictSame(
      await ledger.add(
        [
          { id: 'a', data: 1 },
          { id: 'b', data: 2 },
          { id: 'a', data: 3 },
        ],
        NOW,
      ),
      [
        { id: 'a', added: true },
        { id: 'b', added: true },
        { id: 'a', added: false },
      ],
    );
    await ledger.settle(ann, [completed(await one(ledger), 'done')], NOW);
    t.strictSame(
      await ledger.add(
        [
          { id: 'c', data: 4 },
          { id: 'a', data: 5 },
        ],
        NOW,
      ),
      [
        { id: 'c', added: true },
        { id: 'a', added: false },
      ],
    );
    t.strictSame((await ledger.get('a'))?.settled?.output, 'done');
    t.match(await ledger.counts(), { ready: 2, completed: 1 });
  });

  test('ids are made up where they are missing, and never twice', async (t, ledger) => {
    const added = await ledger.add(
      Array.from({ length: 1_200 }, () => ({ data: null })),
      NOW,
    );
    t.equal(new Set(added.map((job) => job.id)).size, 1_200);
    t.ok(added.every((job) => job.added && job.id.length > 0 && job.id.length <= 200));
    const leased = await claim(ledger, ann, 2_000);
    t.strictSame(ids(leased), ids(added), 'more than a transaction takes, in order');
  });

  test('one bad job refuses all of them', async (t, ledger) => {
    await t.rejects(ledger.add([{ data: 1 }, { data: 2, attempts: 0 }], NOW), { code: 'job-invalid' });
    t.match(await ledger.counts(), { ready: 0 });
  });

  test('a completed job', async (t, ledger) => {
    await ledger.add(jobs('a'), NOW);
    const run = await one(ledger, ann, NOW + 10);
    t.match(await ledger.get('a'), { state: 'leased', worker: ann, lease: 1, leaseUntil: NOW + 10 + LEASE_MS });
    t.strictSame(await ledger.settle(ann, [completed(run, { ok: 1 }, NOW + 20, NOW + 30)], NOW + 40), ['settled']);
    const settled = {
      id: 'a',
      state: 'completed',
      output: { ok: 1 },
      attempts: 1,
      worker: 'ann',
      startedAt: NOW + 20,
      finishedAt: NOW + 30,
    };
    t.match(await ledger.get('a'), {
      id: 'a',
      channel: 'default',
      state: 'completed',
      priority: 0,
      attempts: { made: 1, allowed: 3 },
      lease: 1,
      worker: ann,
      settled,
    });
    t.strictSame((await ledger.settledAfter(0, 10))[0]?.job, settled);
    t.strictSame(await claim(ledger), []);
  });

  test('a worker with a wrong clock: the duration is believed, and moved between claim and now', async (t, ledger) => {
    await ledger.add(jobs('early', 'late', 'slow', 'back', 'failed'), NOW);
    const runs = await claim(ledger);
    const reported: readonly (readonly [number, number])[] = [
      [NOW - 9_000_000, NOW - 8_999_900],
      [NOW + 9_000_000, NOW + 9_000_100],
      [NOW - 5_000, NOW + 400],
      [NOW + 300, NOW + 200],
      [NOW - 9_000_000, NOW - 8_999_900],
    ];
    const settlements = runs.map((run, index) => {
      const [startedAt, finishedAt] = reported[index] ?? [0, 0];
      return { ...(run.id === 'failed' ? failed(run, false) : completed(run)), startedAt, finishedAt };
    });
    await ledger.settle(ann, settlements, NOW + 500);
    const times = new Map((await ledger.settledAfter(0, 9)).map(({ job }) => [job.id, [job.startedAt, job.finishedAt]]));
    t.strictSame(times.get('early'), [NOW, NOW + 100]);
    t.strictSame(times.get('late'), [NOW + 400, NOW + 500]);
    t.strictSame(times.get('slow'), [NOW, NOW + 500]);
    t.strictSame(times.get('back'), [NOW + 200, NOW + 200]);
    t.strictSame(times.get('failed'), [NOW, NOW + 100]);
  });

  test('the same settlement again is a duplicate', async (t, ledger) => {
    await ledger.add(jobs('a', 'b', 'c'), NOW);
    const [a, b, c] = (await claim(ledger)) as [LeasedJob, LeasedJob, LeasedJob];
    t.strictSame(await ledger.settle(ann, [completed(a, 1), completed(a, 2), failed(b), released(c)], NOW), [
      'settled',
      'duplicate',
      'settled',
      'settled',
    ]);
    t.strictSame(await ledger.settle(ann, [completed(a, 3), failed(a), failed(b), released(c)], NOW), Array(4).fill('duplicate'));
    t.match(await ledger.get('a'), { attempts: { made: 1 }, settled: { output: 1 } });
    t.match(await ledger.get('b'), { state: 'ready', attempts: { made: 1 } }, 'charged once');
    t.strictSame(await ledger.settle(bob, [completed(a)], NOW), ['stale'], 'but not from another worker');
  });

  test('a stale lease is refused and changes nothing', async (t, ledger) => {
    await ledger.add(jobs('a'), NOW);
    const first = await one(ledger, ann);
    t.strictSame(await ledger.settle(bob, [completed(first)], NOW), ['stale'], 'of another worker');
    t.strictSame(
      await ledger.settle(ann, [completed({ id: 'a', lease: 2 }), failed(unknownRun)], NOW),
      ['stale', 'stale'],
      'not given out yet',
    );
    t.equal(await expire(ledger, NOW + LEASE_MS - 1), 0);
    t.equal(await expire(ledger, NOW + LEASE_MS), 1);
    t.strictSame(await ledger.settle(bob, [completed(first)], NOW), ['stale'], 'of another worker, after it was taken back');
    const second = await one(ledger, bob);
    t.equal(second.lease, 2);
    t.strictSame(await ledger.settle(ann, [completed(first), failed(first), released(first)], NOW), Array(3).fill('stale'));
    t.match(await ledger.get('a'), { state: 'leased', worker: bob, lease: 2 });
    t.strictSame(await ledger.settle(bob, [completed(second)], NOW), ['settled']);
  });

  test('the same worker with an earlier lease of the same job is stale too', async (t, ledger) => {
    await ledger.add(jobs('a'), NOW);
    const first = await one(ledger, ann);
    await expire(ledger, NOW + LEASE_MS);
    const second = await one(ledger, ann);
    t.strictSame(await ledger.settle(ann, [completed(first, 'old'), completed(second, 'new'), completed(first, 'old')], NOW), [
      'stale',
      'settled',
      'stale',
    ]);
    t.match(await ledger.get('a'), { settled: { output: 'new' } });
  });

  test('one bad settlement in a batch does not hinder the others', async (t, ledger) => {
    await ledger.add(jobs(...Array.from({ length: 600 }, (_, index) => `j${index}`)), NOW);
    const runs = await claim(ledger, ann, 600);
    const answers = await ledger.settle(
      ann,
      runs.map((run, index) =>
        index % 100 === 7 ? completed({ id: run.id, lease: 9 }) : index % 3 === 0 ? failed(run, false) : completed(run),
      ),
      NOW,
    );
    t.equal(answers.filter((answer) => answer === 'stale').length, 6);
    t.equal(answers.indexOf('stale'), 7);
    t.equal(answers.filter((answer) => answer === 'settled').length, 594);
    t.match(await ledger.counts(), { leased: 6 });
  });

  test('a failed run is repeated after a back-off that doubles, until no attempt is left', async (t, ledger) => {
    await ledger.add([{ id: 'a', data: null, attempts: 3, backoffMs: 100 }], NOW);
    let now = NOW;
    for (const waitMs of [100, 200]) {
      await ledger.settle(ann, [failed(await one(ledger, ann, now))], now);
      t.match(await ledger.get('a'), { state: 'ready', runAt: now + waitMs });
      t.equal(await nextWakeAt(ledger, now), now + waitMs);
      t.strictSame(await claim(ledger, ann, 1, now + waitMs - 1), []);
      now += waitMs;
    }
    t.equal((await ledger.get('a'))?.worker, undefined);
    const last = await one(ledger, bob, now);
    t.equal(last.attempt, 3);
    await ledger.settle(bob, [failed(last, true, { code: 'my-own', message: 'NUL \0 and \ud800' })], now);
    t.match((await ledger.get('a'))?.settled, {
      state: 'failed',
      attempts: 3,
      worker: 'bob',
      error: { code: 'my-own', message: 'NUL \0 and \ud800' },
    });
    t.strictSame(await claim(ledger, ann, 1, now + 1_000_000), []);
  });

  test('an error that is final fails the job at once; back-off 0 means at once', async (t, ledger) => {
    await ledger.add(
      [
        { id: 'a', data: null },
        { id: 'b', data: null, backoffMs: 0 },
      ],
      NOW,
    );
    const [a, b] = (await claim(ledger)) as [LeasedJob, LeasedJob];
    await ledger.settle(ann, [failed(a, false), failed(b)], NOW);
    t.match(await ledger.get('a'), { state: 'failed', attempts: { made: 1, allowed: 3 } });
    t.match(await one(ledger), { id: 'b', attempt: 2, lease: 2 });
  });

  test('a released job is first again and not charged', async (t, ledger) => {
    await ledger.add(jobs('a', 'b', 'c'), NOW);
    const [a] = (await claim(ledger, ann, 2)) as [LeasedJob, LeasedJob];
    await ledger.settle(ann, [released(a)], NOW);
    t.match(await ledger.get('a'), { state: 'ready', attempts: { made: 0 } });
    t.match(await one(ledger, bob), { id: 'a', lease: 2, attempt: 1 });
  });

  test('a lease that is extended does not expire', async (t, ledger) => {
    await ledger.add(jobs('a', 'b', 'c'), NOW);
    const [a, b, c] = (await claim(ledger)) as [LeasedJob, LeasedJob, LeasedJob];
    await ledger.settle(ann, [completed(c)], NOW);
    t.strictSame(await ledger.extend(ann, [], NOW, NOW), []);
    t.strictSame(await ledger.extend(ann, [a, { id: 'b', lease: 7 }, c, unknownRun], NOW + 2 * LEASE_MS, NOW), [
      { id: 'b', lease: 7 },
      { id: 'c', lease: c.lease },
      unknownRun,
    ]);
    t.strictSame(await ledger.extend(bob, [b], NOW + 9 * LEASE_MS, NOW), [{ id: 'b', lease: b.lease }]);
    t.equal(await nextWakeAt(ledger, NOW), NOW + LEASE_MS);
    t.equal(await nextWakeAt(ledger, NOW + 5 * LEASE_MS), NOW + 5 * LEASE_MS, 'overdue is now');
    t.equal(await expire(ledger, NOW + LEASE_MS), 1);
    t.match(await ledger.get('a'), { state: 'leased' });
    t.match(await ledger.get('b'), { state: 'ready', attempts: { made: 1 } });
  });

  test('a job that loses every worker fails in the end', async (t, ledger) => {
    await ledger.add([{ id: 'poison', data: null, attempts: 2 }], NOW);
    await one(ledger, ann, NOW);
    await expire(ledger, NOW + LEASE_MS);
    t.match(await ledger.get('poison'), { state: 'ready' });
    const second = await one(ledger, bob, NOW + LEASE_MS);
    t.equal(second.attempt, 2);
    t.equal(await expire(ledger, NOW + 2 * LEASE_MS), 1);
    t.match((await ledger.get('poison'))?.settled, {
      state: 'failed',
      attempts: 2,
      error: { code: 'lease-expired' },
      startedAt: NOW + LEASE_MS,
      finishedAt: NOW + 2 * LEASE_MS,
    });
    t.strictSame(await ledger.settle(bob, [completed(second)], NOW + 2 * LEASE_MS), ['stale']);
    t.equal(await nextWakeAt(ledger, NOW), undefined);
  });

  test('more leases end at once than one transaction takes', async (t, ledger) => {
    await ledger.add(
      Array.from({ length: 1_100 }, () => ({ data: null })),
      NOW,
    );
    await claim(ledger, ann, 1_100);
    t.equal(await expire(ledger, NOW + LEASE_MS), 1_100);
    t.match(await ledger.counts(), { ready: 1_100, leased: 0 });
  });

  test('a worker that returns keeps what it holds; the rest is given back', async (t, ledger) => {
    await ledger.add(jobs('kept', 'never', 'other'), NOW);
    const [kept] = (await claim(ledger, ann, 2)) as [LeasedJob, LeasedJob];
    const other = await one(ledger, bob);
    const until = NOW + 5 * LEASE_MS;
    t.strictSame(await ledger.reconcile(ann, [kept, other, unknownRun, { id: 'never', lease: 5 }], until, { charge: false }, NOW), [
      { id: 'other', lease: other.lease },
      unknownRun,
      { id: 'never', lease: 5 },
    ]);
    t.match(await ledger.get('kept'), { state: 'leased', leaseUntil: until });
    t.match(await ledger.get('never'), { state: 'ready', attempts: { made: 0 } });
    t.match(await ledger.get('other'), { state: 'leased', worker: bob });
    t.strictSame(await ledger.reconcile(ann, [], until, { charge: true }, NOW), []);
    t.match(await ledger.get('kept'), { state: 'ready', attempts: { made: 1 } });
    t.strictSame(await ledger.settle(ann, [completed(kept)], NOW), ['stale']);
  });

  test('a worker that keeps dying of a job', async (t, ledger) => {
    await ledger.add([{ id: 'a', data: null, attempts: 1 }], NOW);
    await one(ledger);
    await ledger.reconcile(ann, [], NOW, { charge: true }, NOW + 5);
    t.match((await ledger.get('a'))?.settled, { state: 'failed', error: { code: 'worker-lost' }, finishedAt: NOW + 5 });
  });

  test('waiting, delayed and running jobs are cancelled, ended ones are not', async (t, ledger) => {
    await ledger.add([...jobs('ended', 'running', 'waiting'), { id: 'delayed', data: null, delayMs: 1_000 }], NOW);
    const [ended, running] = (await claim(ledger, ann, 2)) as [LeasedJob, LeasedJob];
    await ledger.settle(ann, [completed(ended)], NOW);
    t.strictSame(await ledger.cancel(['running', 'ended', 'waiting', 'nobody', 'delayed', 'waiting'], NOW + 9), [
      { id: 'running', running: { workerId: ann.id, lease: running.lease } },
      { id: 'waiting' },
      { id: 'delayed' },
    ]);
    t.strictSame(await ledger.cancel(['running', 'waiting'], NOW), []);
    t.strictSame(await ledger.settle(ann, [completed(running)], NOW), ['stale']);
    t.strictSame(await ledger.extend(ann, [running], NOW, NOW), [{ id: 'running', lease: running.lease }]);
    t.strictSame((await ledger.get('running'))?.settled, {
      id: 'running',
      state: 'cancelled',
      error: { code: 'cancelled', message: 'The job was cancelled' },
      attempts: 0,
      startedAt: NOW,
      finishedAt: NOW + 9,
    });
    t.strictSame(await claim(ledger, ann, 9, NOW + 5_000), []);
    t.match(await ledger.counts(), { cancelled: 3, completed: 1, ready: 0, leased: 0 });
    t.equal(await nextWakeAt(ledger, NOW), undefined);
  });

  test('a delayed job is not leased before its time, then in its place', async (t, ledger) => {
    await ledger.add(
      [
        { id: 'later', data: null, delayMs: 1_000 },
        { id: 'now', data: null },
        { id: 'soon', data: null, delayMs: 500 },
      ],
      NOW,
    );
    t.match(await ledger.get('later'), { state: 'ready', runAt: NOW + 1_000 });
    t.equal(await nextWakeAt(ledger, NOW), NOW + 500);
    t.equal(await nextWakeAt(ledger, NOW + 500), NOW + 1_000, 'what is due needs no waking');
    t.equal(ids(await claim(ledger, ann, 9, NOW + 999)), 'now soon');
    t.equal(ids(await claim(ledger, ann, 9, NOW + 1_000)), 'later');
  });

  test('more jobs become due at once than one claim promotes', async (t, ledger) => {
    await ledger.add(
      Array.from({ length: 2_500 }, () => ({ data: null, delayMs: 10 })),
      NOW,
    );
    t.equal((await claim(ledger, ann, 5_000, NOW + 10)).length, 2_500);
  });

  test('settled jobs are read in the order of their settlement, by cursor', async (t, ledger) => {
    t.equal(await ledger.lastSettled(), 0);
    await ledger.add(jobs('a', 'b', 'c', 'd', 'e'), NOW);
    const [a, b, c, d] = (await claim(ledger)) as [LeasedJob, LeasedJob, LeasedJob, LeasedJob];
    await ledger.settle(ann, [completed(c)], NOW);
    await ledger.settle(ann, [failed(a, false), failed(d)], NOW);
    await ledger.settle(ann, [completed(b)], NOW);
    await ledger.cancel(['e'], NOW);
    const first = await ledger.settledAfter(0, 2);
    t.equal(ids(first.map(({ job }) => job)), 'c a');
    const rest = await ledger.settledAfter(first[1]?.cursor ?? 0, 10);
    t.equal(ids(rest.map(({ job }) => job)), 'b e');
    t.equal(rest[1]?.cursor, await ledger.lastSettled());
    t.strictSame(await ledger.settledAfter(await ledger.lastSettled(), 10), []);
  });

  test('large data and outputs come in portions', async (t, ledger) => {
    const large = 'x'.repeat(3_000_000);
    await ledger.add(
      ['a', 'b', 'c', 'd', 'e', 'f', 'g'].map((id) => ({ id, data: large })),
      NOW,
    );
    const first = await claim(ledger);
    t.equal(ids(first), 'a b');
    const second = await claim(ledger);
    t.equal(ids(second), 'c d', 'what did not fit is still ready');
    const third = await claim(ledger);
    const runs = [...first, ...second, ...third];
    await ledger.settle(
      ann,
      runs.map((run) => completed(run, 'y'.repeat(6_000_000))),
      NOW,
    );
    let cursor = 0;
    let read = '';
    for (let page = await ledger.settledAfter(cursor, 100); page.length > 0; page = await ledger.settledAfter(cursor, 100)) {
      for (const entry of page) read += entry.job.id;
      cursor = page[page.length - 1]?.cursor ?? cursor;
    }
    t.equal(read, 'abcdef');
  });

  test('calls of one turn happen in their order', async (t, ledger) => {
    const [, first, counts, , second] = await Promise.all([
      ledger.add(jobs('a', 'b'), NOW),
      claim(ledger, ann, 1),
      ledger.counts(),
      ledger.add([{ id: 'c', data: null, priority: 1 }], NOW),
      claim(ledger, bob),
    ]);
    t.equal(ids(first), 'a');
    t.match(counts, { ready: 1, leased: 1 });
    t.equal(ids(second), 'c b');
  });

  test('a call that cannot be written fails alone', async (t, ledger) => {
    const answers = await Promise.allSettled([
      ledger.add(jobs('a'), NOW),
      ledger.remember('bad \0 key', 'x'),
      claim(ledger, ann, 1),
      ledger.remember('good', 'y'),
    ]);
    t.strictSame(
      answers.map((answer) => answer.status),
      ['fulfilled', 'rejected', 'fulfilled', 'fulfilled'],
    );
    t.match(await ledger.get('a'), { state: 'leased', worker: ann });
    t.equal(await ledger.recall('good'), 'y');
    t.match(await ledger.counts(), { ready: 0, leased: 1 });
  });

  test('small values are remembered', async (t, ledger) => {
    t.equal(await ledger.recall('version'), undefined);
    await ledger.remember('version', '1');
    await ledger.remember('version', '');
    t.equal(await ledger.recall('version'), '');
  });

  test('a small value is replaced only while it is as it was read', async (t, ledger) => {
    t.same(await Promise.all(['1', '2'].map((value) => ledger.replace('list', undefined, value))), [true, false]);
    t.same(await Promise.all(['3', '4'].map((value) => ledger.replace('list', '1', value))), [true, false]);
    t.equal(await ledger.recall('list'), '3');
  });

  test('a worker that changed its name', async (t, ledger) => {
    await ledger.add(jobs('a'), NOW);
    const run = await one(ledger, ann);
    t.strictSame(await ledger.settle({ ...ann, name: 'anna \0' }, [completed(run)], NOW), ['settled']);
    t.equal((await ledger.get('a'))?.settled?.worker, 'anna ');
  });

  test('closed is closed, but what was under way is finished', async (t, ledger) => {
    const adding = ledger.add(jobs('a'), NOW);
    await ledger.close();
    t.match(await adding, [{ id: 'a', added: true }]);
    await t.rejects(ledger.get('a'), { code: 'closed' });
    await ledger.close();
  });

  t.test(`${engine.name}: the back-off is jittered and never longer than an hour`, async (t) => {
    const { ledger } = await engine.open(t, () => 0.5);
    await ledger.add(
      [
        { id: 'a', data: null, backoffMs: 1_000 },
        { id: 'b', data: null, backoffMs: 3_600_000 },
      ],
      NOW,
    );
    const [a, b] = (await claim(ledger)) as [LeasedJob, LeasedJob];
    await ledger.settle(ann, [failed(a), failed(b)], NOW);
    t.equal((await ledger.get('a'))?.runAt, NOW + 1_125);
    t.equal((await ledger.get('b'))?.runAt, NOW + 3_600_000);
  });
}
