import t from 'tap';
import type { JobInput } from '../../src/job/job.js';
import type { LeasedJob, Ledger } from '../../src/ledger/ledger.js';
import { seededRandom } from '../lab/seeded-random.js';
import { engines, expire } from './engines.js';
import { claim, completed, failed, LEASE_MS, NOW, released } from './verbs.js';

const STEPS = 400;
const SEEDS = [11, 12, 13];
const GROUPS = ['g0', 'g1', 'g2'];
const WORKGROUPS = ['w0', 'w1'];
const KEYS = ['k0', 'k1', 'k2'];
const MAX_RUNNING = 2;

/**
 * Graphs, duplicates, pauses, holds, limits, kills, stale settlements, cancels and retries in random order. The expectations are not step
 * by step but invariants: nothing is claimed that may not run, nothing is recorded twice, the tallies are right, and every job ends.
 */
for (const engine of engines)
  for (const seed of SEEDS)
    t.test(`${engine.name}, seed ${seed}: whatever happens, the rules hold`, async (t) => {
      const random = seededRandom(seed);
      const { ledger, driver } = await engine.open(t, random.next);
      const chance = (share: number) => random.next() < share;
      const inputs = new Map<string, JobInput>();
      const paused = new Set<string>();
      const heldUntil = new Map<string, number>();
      const runs: { readonly worker: { id: string; name: string }; readonly job: LeasedJob }[] = [];
      const workers = Array.from({ length: 4 }, (_, at) => ({ id: `key-${at}`, name: `w${at}` }));
      const anId = () => `job-${random.below(Math.max(1, inputs.size))}`;
      const faults: string[] = [];
      let now = NOW;
      const everEnded = new Set<string>();
      const everCompleted = new Set<string>();
      ledger.watch(({ jobs }) => {
        for (const { id, state } of jobs) {
          if (state === 'completed') everCompleted.add(id);
          if (state === 'completed' || state === 'failed' || state === 'cancelled') everEnded.add(id);
        }
      });
      await ledger.putWorkgroup({ id: 'w1', maxRunning: MAX_RUNNING }, now);
      for (const id of GROUPS) await ledger.putGroup({ id, parentFailure: random.pick(['fail', 'run']) }, now);

      const add = async () => {
        const jobs: JobInput[] = [];
        for (let count = 1 + random.below(6); count > 0; count -= 1) {
          const known = inputs.size + jobs.length;
          const parents =
            known > 0 && chance(0.5) ? [...new Set(Array.from({ length: 1 + random.below(3) }, () => `job-${random.below(known)}`))] : [];
          jobs.push({
            id: `job-${known}`,
            data: known,
            parents,
            attempts: 1 + random.below(3),
            backoffMs: random.below(2) * 500,
            priority: random.below(3),
            ...(chance(0.7) && { group: random.pick(['g0', 'g1', 'g2']) }),
            ...(chance(0.3) && { workgroup: random.pick(['w0', 'w1']) }),
            ...(chance(0.25) && { key: random.pick(['k0', 'k1', 'k2']) }),
            ...(chance(0.2) && { delayMs: random.below(5_000) }),
          });
        }
        await ledger.add([...jobs].reverse(), now);
        for (const job of jobs) inputs.set(job.id ?? '', job);
      };
      const take = async () => {
        const worker = random.pick(workers as [(typeof workers)[0], ...typeof workers]);
        for (const job of await claim(ledger, { worker, limit: 1 + random.below(8), now })) {
          runs.push({ worker, job });
          await check(job);
        }
      };
      const check = async (job: LeasedJob) => {
        const { group, workgroup, key, parents = [] } = inputs.get(job.id) ?? {};
        const record = await ledger.get(job.id, now);
        if (group !== undefined && paused.has(group)) faults.push(`${job.id} was claimed of a paused group`);
        if (workgroup !== undefined && (heldUntil.get(workgroup) ?? 0) > now) faults.push(`${job.id} was claimed of a held workgroup`);
        if (workgroup === 'w1' && ((await ledger.getWorkgroup('w1'))?.running ?? 0) > MAX_RUNNING) faults.push('too many run of w1');
        if (record !== undefined && record.attempts.made >= record.attempts.allowed) faults.push(`${job.id} has no attempt left`);
        // A parent that is reset does not affect the children it has already released.
        const freed = record?.parentFailure === 'run' ? everEnded : everCompleted;
        if (!parents.every((parent) => freed.has(parent))) faults.push(`${job.id} was claimed before its parents`);
        if (key !== undefined) {
          const twins = await driver.all<{ n: number }>("SELECT COUNT(*) AS n FROM job WHERE state = 'leased' AND merge_key = ?", [key]);
          if (twins[0]?.n !== 1) faults.push(`${twins[0]?.n} twins of ${key} run`);
        }
      };
      const settle = async () => {
        if (runs.length === 0) return;
        const index = random.below(runs.length);
        const run = runs[index];
        if (run === undefined) return;
        // A worker that repeats the same settlement later.
        if (!chance(0.1)) runs.splice(index, 1);
        const { worker, job } = run;
        const hold = chance(0.05) ? { holdMs: 2_000 } : {};
        const outcome = random.pick(['completed', 'completed', 'failed', 'released', 'final']);
        const settlement =
          outcome === 'completed'
            ? completed(job, job.id, hold)
            : outcome === 'released'
              ? released(job)
              : failed(job, { retry: outcome === 'failed', ...hold });
        const [answer] = await ledger.settle(worker, [settlement], now);
        const workgroup = inputs.get(job.id)?.workgroup;
        if (answer === 'settled' && 'holdMs' in hold && outcome !== 'released' && workgroup !== undefined)
          heldUntil.set(workgroup, Math.max(heldUntil.get(workgroup) ?? 0, now + 2_000));
        if (await isDoubtful(ledger, job.id)) faults.push(`${job.id} has ended without an outcome`);
      };
      const others: readonly (() => Promise<unknown>)[] = [
        async () => {
          const group = random.pick(['g0', 'g1', 'g2']);
          if (paused.delete(group)) await ledger.resumeGroup(group);
          else {
            paused.add(group);
            await ledger.pauseGroup(group);
          }
        },
        async () => ledger.cancel([anId()], now),
        async () => ledger.retry([anId(), anId()], now),
        async () => ledger.reset([anId()], now),
        async () => ledger.redrive({}, 3, now),
        async () => expire(ledger, now),
      ];

      for (let step = 0; step < STEPS; step += 1) {
        const dice = random.next();
        if (dice < 0.2) await add();
        else if (dice < 0.5) await take();
        else if (dice < 0.8) await settle();
        else await random.pick(others as [() => Promise<unknown>, ...(() => Promise<unknown>)[]])();
        now += chance(0.03) ? LEASE_MS : random.below(200);
        await ledger.maintain(now, { keepLeases: chance(0.9) });
      }
      t.strictSame(faults, []);
      await compareTallies();

      // Finally everything is resumed, and every job must end.
      for (const group of GROUPS) await ledger.resumeGroup(group);
      for (const workgroup of WORKGROUPS) await ledger.releaseWorkgroup(workgroup, now);
      paused.clear();
      heldUntil.clear();
      for (let round = 0; ; round += 1) {
        const { blocked, ready, leased } = await ledger.counts();
        if (blocked + ready + leased === 0) break;
        if (round > 300) throw new Error(`${blocked} blocked, ${ready} ready, ${leased} leased: they never end`);
        now += 3_600_001;
        await expire(ledger, now);
        // Jobs that wait for a parent that was never retried, or retried in vain: their owner gives up.
        if (ready + leased === 0)
          await ledger.cancel(
            (await ledger.list({ state: 'blocked' }, { limit: 500 }, now)).jobs.map(({ id }) => id),
            now,
          );
        for (const job of await claim(ledger, { now, limit: 50 }))
          await ledger.settle({ id: 'key-ann', name: 'ann' }, [completed(job)], now);
      }
      t.strictSame(faults, []);
      await compareTallies();
      t.strictSame(
        await driver.all(
          "SELECT COUNT(*) AS n FROM job WHERE parked IS NOT NULL OR (state NOT IN ('leased', 'ready') AND lease_until IS NOT NULL)",
        ),
        [{ n: 0 }],
      );
      t.ok(KEYS.length > 0 && inputs.size > 100, `${inputs.size} jobs`);

      async function compareTallies(): Promise<void> {
        const rows = await driver.all<{ state: string; n: number }>('SELECT state, COUNT(*) AS n FROM job GROUP BY state');
        const counts: Readonly<Record<string, number>> = await ledger.counts();
        for (const [state, count] of Object.entries(counts))
          t.equal(count, rows.find((row) => row.state === state)?.n ?? 0, `${state}: the tally is right`);
        for (const id of GROUPS) {
          const group = await ledger.getGroup(id);
          const [row] = await driver.all<{ n: number }>(
            "SELECT COUNT(*) AS n FROM job WHERE state = 'completed' AND grp = (SELECT seq FROM grp WHERE id = ?)",
            [id],
          );
          t.equal(group?.counts.completed, row?.n, `${id}: its tally is right`);
        }
      }
    });

async function isDoubtful(ledger: Ledger, id: string): Promise<boolean> {
  const record = await ledger.get(id);
  return record?.state === 'completed' && record.settled?.output === undefined;
}
