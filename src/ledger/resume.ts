import type { RunRow } from './job-row.js';
import { padded, pieces, repeated, sized } from './lists.js';
import { leaseEnd } from './run-time.js';
import type { Transaction } from './transaction.js';

/**
 * The silence does not count as run time: a worker that was suspended or cut off made no progress, or enforces the time limit by its own
 * clock.
 */
const BEGUN = 'COALESCE(begun_at, started_at) + CAST(? AS INTEGER) - lease_until';
const RESUME = sized(
  (count) => `UPDATE job SET state = 'leased', parked = NULL, error = NULL, begun_at = ${BEGUN}, lease_until = ${leaseEnd(BEGUN)},
  attempts_made = CASE WHEN attempts_made > 0 THEN attempts_made - 1 ELSE 0 END WHERE seq IN (${repeated('?', count)})`,
);
const DUPLICATE_RUNS = `SELECT seq FROM job WHERE channel = ? AND merge_key = ? AND state = 'leased' AND merge_key IS NOT NULL LIMIT 1`;
const IS_FULL = `SELECT seq FROM workgroup WHERE seq = ? AND max_running IS NOT NULL
  AND max_running <= (SELECT COUNT(*) FROM job WHERE job.workgroup = workgroup.seq AND job.state = 'leased' AND job.workgroup IS NOT NULL)`;

/**
 * Resumes expired leases under their old lease number: the worker still holds the runs and nobody else was given the jobs, so nothing is
 * lost, run twice or charged. `rows` must be locked and be the ones that the worker names. Returns the `seq` of the resumed jobs.
 */
export async function resumeRuns(
  transaction: Transaction,
  rows: readonly RunRow[],
  until: number,
  now: number,
): Promise<ReadonlySet<number>> {
  const resumed = new Set<number>();
  for (const row of rows) {
    if (row.state !== 'ready' || row.lease_until === null || resumed.has(row.seq)) continue;
    const { channel, merge_key, workgroup } = row;
    if (merge_key !== null && (await transaction.all(DUPLICATE_RUNS, [channel, merge_key])).length > 0) continue;
    if (workgroup !== null && (await transaction.all(IS_FULL, [workgroup])).length > 0) continue;
    // Written one by one where one may block the next.
    if (merge_key !== null || workgroup !== null) await transaction.run(RESUME(1), boundValues(now, until, [row.seq]));
    resumed.add(row.seq);
    transaction.moved(row, 'ready', 'leased');
  }
  const free = rows.filter(({ seq, merge_key, workgroup }) => resumed.has(seq) && merge_key === null && workgroup === null);
  for (const piece of pieces(free.map(({ seq }) => seq))) {
    const list = padded(piece);
    await transaction.run(RESUME(list.length), boundValues(now, until, list));
  }
  if (resumed.size > 0) transaction.due(until);
  return resumed;
}

/** The values in the order in which the statement binds them. */
function boundValues(now: number, until: number, seqs: readonly number[]): readonly number[] {
  return [now, now, until, until, now, ...seqs];
}
