import t from 'tap';
import type { Settlement } from '../../src/job/verbs.js';
import type { LeasedJob, WorkerRef } from '../../src/ledger/ledger.js';
import { seededRandom } from '../lab/seeded-random.js';
import { engines, expire, nextWakeAt } from './engines.js';
import { ModelLedger, type ModelRun } from './model.js';

/**
 * Makes random calls to a ledger and to a small model of it, side by side: all answers must match. Workers disappear, return without their
 * jobs, settle twice, late, under the wrong lease or for someone else; jobs fail, are released, cancelled and delayed; time jumps. Several
 * calls are made in one turn, so that they share a transaction. PEERWORK_SEED repeats a run.
 */
const STEPS = 400;
const START = 1_700_000_000_000;
const LEASE_MS = 30_000;
const CHANNELS = ['red', 'green', 'blue'];

const seed = Number(process.env['PEERWORK_SEED'] ?? Date.now() % 1_000_000);

for (const engine of engines) {
  t.test(`${engine.name}: random calls agree with the model, seed ${seed}`, async (t) => {
    const random = seededRandom(seed).next;
    const below = (limit: number) => Math.floor(random() * limit);
    const chance = (share: number) => random() < share;
    const { ledger, driver } = await engine.open(t, () => 0.5);
    const model = new ModelLedger(0.5);
    const workers: WorkerRef[] = Array.from({ length: 4 }, (_, index) => ({ id: `key-${index}`, name: `worker ${index}` }));
    const anyWorker = () => workers[below(workers.length)] as WorkerRef;
    /** Every lease ever granted and to whom: what workers may return with. */
    const granted: { worker: WorkerRef; run: ModelRun }[] = [];
    let now = START;
    let made = 0;

    const someRuns = (worker: WorkerRef): ModelRun[] => {
      const own = granted.filter((grant) => grant.worker === worker).slice(-12);
      const runs = own.filter(() => chance(0.5)).map((grant) => grant.run);
      if (chance(0.1) && granted.length > 0) runs.push((granted[below(granted.length)] as { run: ModelRun }).run);
      if (chance(0.05)) runs.push({ id: `job ${below(made + 3)}`, lease: 1 + below(4) });
      return runs;
    };
    const outcome = (): Settlement['outcome'] => {
      const dice = random();
      if (dice < 0.6) return { state: 'completed', output: { dice } };
      if (dice < 0.85) return { state: 'failed', error: { code: 'task-threw', message: String(dice) }, retry: chance(0.8) };
      return { state: 'released', reason: 'drain' };
    };

    /** Makes one call to both; resolves when the two answers have been compared. */
    const call = (): Promise<void> => {
      const worker = anyWorker();
      const until = now + LEASE_MS;
      const at = now;
      const compare = async <T>(what: string, real: Promise<T>, expected: T) => {
        const answer = await real;
        t.strictSame(answer, expected, `${what} at ${at - START}`) || t.bailout(`seed ${seed}`);
        return answer;
      };
      const dice = random();
      if (dice < 0.25) {
        const jobs = Array.from({ length: 1 + below(5) }, () => ({
          id: `job ${chance(0.05) ? below(made + 1) : made++}`,
          data: made,
          channel: CHANNELS[below(3)] as string,
          priority: below(3) - 1,
          attempts: 1 + below(3),
          backoffMs: below(2) * 1_000,
          delayMs: chance(0.2) ? below(40_000) : 0,
        }));
        return compare('add', ledger.add(jobs, at), model.add(jobs, at)).then(() => {});
      }
      if (dice < 0.55) {
        const channels = CHANNELS.filter(() => chance(0.7));
        const limit = below(6);
        const expected = model.claim(worker, channels, limit, until, at);
        for (const run of expected) granted.push({ worker, run });
        const real = ledger.claim({ worker, channels, limit, until }, at);
        const short = real.then((jobs: LeasedJob[]) => jobs.map(({ id, lease, attempt }) => ({ id, lease, attempt })));
        return compare('claim', short, expected).then(() => {});
      }
      if (dice < 0.8) {
        const settlements = someRuns(worker).map((run): Settlement => ({ ...run, outcome: outcome(), startedAt: at - 5, finishedAt: at }));
        for (const settlement of [...settlements]) if (chance(0.15)) settlements.push(settlement);
        return compare('settle', ledger.settle(worker, settlements, at), model.settle(worker, settlements, at)).then(() => {});
      }
      if (dice < 0.87) {
        const runs = someRuns(worker);
        return compare('extend', ledger.extend(worker, runs, until, at), model.extend(worker, runs, until)).then(() => {});
      }
      if (dice < 0.91) {
        const holding = [...new Map(someRuns(worker).map((run) => [`${run.id} ${run.lease}`, run])).values()];
        const options = { charge: chance(0.5) };
        const expected = model.reconcile(worker, holding, until, options.charge, at);
        return compare('reconcile', ledger.reconcile(worker, holding, until, options, at), expected).then(() => {});
      }
      if (dice < 0.94) {
        const ids = Array.from({ length: 1 + below(3) }, () => `job ${below(made + 1)}`);
        return compare('cancel', ledger.cancel(ids, at), model.cancel(ids)).then(() => {});
      }
      if (dice < 0.97) return compare('expire', expire(ledger, at), model.expire(at)).then(() => {});
      return compare('counts', ledger.counts(), model.counts()).then(() => {});
    };

    for (let step = 0; step < STEPS; step += 1) {
      await Promise.all(Array.from({ length: 1 + below(4) }, call));
      now += chance(0.05) ? below(60_000) : below(500);
      if (step % 20 === 0) t.equal(await nextWakeAt(ledger, now), model.nextWakeAt(now), 'nextWakeAt');
    }

    // Finally every job must end, whatever became of its workers.
    for (let round = 0; model.unfinished() > 0; round += 1) {
      if (round > 200) throw new Error(`seed ${seed}: ${model.unfinished()} jobs do not end`);
      now += 3_600_001;
      t.equal(await expire(ledger, now), model.expire(now));
      const worker = anyWorker();
      const expected = model.claim(worker, CHANNELS, 50, now + LEASE_MS, now);
      t.equal((await ledger.claim({ worker, channels: CHANNELS, limit: 50, until: now + LEASE_MS }, now)).length, expected.length);
      const settlements = expected.map(({ id, lease }): Settlement => ({ id, lease, outcome: outcome(), startedAt: now, finishedAt: now }));
      t.strictSame(await ledger.settle(worker, settlements, now), model.settle(worker, settlements, now));
    }
    const settled = await ledger.settledAfter(0, 100_000);
    t.strictSame(
      settled.map(({ job }) => ({ id: job.id, state: job.state, attempts: job.attempts })).sort(byId),
      model.ended().sort(byId),
      'every job ended exactly once, with the attempts that were charged',
    );
    t.ok(settled.every((entry, index) => index === 0 || entry.cursor > (settled[index - 1]?.cursor ?? 0)));
    t.strictSame(await ledger.counts(), model.counts());
    const rows = await driver.all<{ state: string; n: number }>('SELECT state, COUNT(*) AS n FROM job GROUP BY state');
    const counts: Readonly<Record<string, number>> = await ledger.counts();
    for (const row of rows) t.equal(row.n, counts[row.state], 'the tally is right');
  });
}

function byId(a: { id: string }, b: { id: string }): number {
  return a.id < b.id ? -1 : 1;
}
