import type { RunRow } from './job-row.js';
import { padded, pieces, repeated, sized } from './lists.js';
import { leaseEnd } from './run-time.js';
import type { Transaction } from './transaction.js';

/** The silence does not count as time of the run: who was suspended, or cut off, did not get on with it, or goes by its own time limit. */
const BEGUN = 'COALESCE(begun_at, started_at) + CAST(? AS INTEGER) - lease_until';
const RESUME = sized(
  (count) => `UPDATE job SET state = 'leased', parked = NULL, error = NULL, begun_at = ${BEGUN}, lease_until = ${leaseEnd(BEGUN)},
  attempts_made = CASE WHEN attempts_made > 0 THEN attempts_made - 1 ELSE 0 END WHERE seq IN (${repeated('?', count)})`,
);
const TWIN_RUNS = `SELECT seq FROM job WHERE channel = ? AND merge_key = ? AND state = 'leased' AND merge_key IS NOT NULL LIMIT 1`;
const IS_FULL = `SELECT seq FROM workgroup WHERE seq = ? AND max_running IS NOT NULL
  AND max_running <= (SELECT COUNT(*) FROM job WHERE job.workgroup = workgroup.seq AND job.state = 'leased' AND job.workgroup IS NOT NULL)`;

/**
 * Gives leases back that ended in silence, under the number that they had: the worker holds the runs still, nobody else was given the jobs, and so
 * nothing is lost, run twice or charged. The rows, which are locked, are those that the worker names. Returns their numbers.
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
    if (merge_key !== null && (await transaction.all(TWIN_RUNS, [channel, merge_key])).length > 0) continue;
    if (workgroup !== null && (await transaction.all(IS_FULL, [workgroup])).length > 0) continue;
    // One by one where one may stand in the way of the next.
    if (merge_key !== null || workgroup !== null) await transaction.run(RESUME(1), values(now, until, [row.seq]));
    resumed.add(row.seq);
    transaction.moved(row, 'ready', 'leased');
  }
  const free = rows.filter(({ seq, merge_key, workgroup }) => resumed.has(seq) && merge_key === null && workgroup === null);
  for (const piece of pieces(free.map(({ seq }) => seq))) {
    const list = padded(piece);
    await transaction.run(RESUME(list.length), values(now, until, list));
  }
  if (resumed.size > 0) transaction.due(until);
  return resumed;
}

/** In the order in which the statement names them. */
function values(now: number, until: number, seqs: readonly number[]): readonly number[] {
  return [now, now, until, until, now, ...seqs];
}
