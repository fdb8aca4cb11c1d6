import { checkJobInput } from '../job/job-input.js';
import { addJobs } from './add.js';
import { expireLeases } from './expire.js';
import { continueResuming } from './groups.js';
import type { Operations } from './operations.js';
import type { MaintenanceResult } from './requests.js';
import { purge } from './retention.js';
import { fireSchedules, nextScheduleAt } from './schedules.js';
import type { Transaction } from './transaction.js';
import { nextOpening, openWorkgroups } from './workgroups.js';

/** Jobs of each kind that one call may touch. */
const LIMIT = 500;

/** Only future delays: a delayed job that is due is found by the next claim without maintenance. */
const NEXT_DUE = `SELECT run_at AS wake_at FROM job WHERE state = 'ready' AND run_at IS NOT NULL AND run_at > ? ORDER BY run_at LIMIT 1`;
const NEXT_LEASE_END = `SELECT lease_until AS wake_at FROM job WHERE state = 'leased' ORDER BY lease_until LIMIT 1`;

/** Checks the clock and does the maintenance that is due by it, a bounded amount per call. */
export async function maintain(operations: Operations, now: number, keepLeases: boolean): Promise<MaintenanceResult> {
  const { time } = operations;
  const { checked, result } = await operations.run(1, async (transaction) => {
    const checked = await time.check(transaction);
    const moved = checked?.moved ?? false;
    // Leases that this Master renewed since another one shifted the ledger's time were renewed by the old time: do not expire them now.
    const result = await runDue(operations, transaction, now, keepLeases || moved);
    return { checked, result: { ...result, moved } };
  });
  time.adopt(checked);
  const { nextAt } = result;
  return { ...result, nextAt: nextAt === undefined ? undefined : time.toCallerTime(nextAt) };
}

async function runDue(
  operations: Operations,
  transaction: Transaction,
  calledAt: number,
  keepLeases: boolean,
): Promise<Omit<MaintenanceResult, 'moved'>> {
  const { workers, options } = operations;
  const adding = operations.adding(transaction, calledAt);
  const { now } = adding;
  const { ended, late } = keepLeases ? { ended: 0, late: 0 } : await expireLeases(transaction, workers, now, LIMIT, adding.random);
  await openWorkgroups(transaction, now);
  const resuming = await continueResuming(transaction);
  const firing = await fireSchedules(transaction, now, (inputs) =>
    addJobs(
      transaction,
      inputs.map((input) => checkJobInput(input)),
      adding,
    ),
  );
  const purged = await purge(transaction, options.retention ?? {}, now, LIMIT);
  const more = ended === LIMIT || resuming || firing.more || purged === LIMIT;
  return { expired: ended - late, late, changed: transaction.change !== undefined, nextAt: more ? now : await nextAt(transaction, now) };
}

async function nextAt(transaction: Transaction, now: number): Promise<number | undefined> {
  const [due] = await transaction.all<{ wake_at: number }>(NEXT_DUE, [now]);
  const [end] = await transaction.all<{ wake_at: number }>(NEXT_LEASE_END);
  const instants = [due?.wake_at, end?.wake_at, await nextOpening(transaction, now), await nextScheduleAt(transaction)];
  const next = Math.min(...instants.map((instant) => instant ?? Number.POSITIVE_INFINITY));
  return next === Number.POSITIVE_INFINITY ? undefined : Math.max(now, next);
}
