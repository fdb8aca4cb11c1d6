import { endRuns } from './end-runs.js';
import { RUN_COLUMNS, type RunRow } from './job-row.js';
import { endByLoss, endByTime, type RunEnd } from './run-end.js';
import { exceededLimit, type LeaseTimes } from './run-time.js';
import type { Transaction } from './transaction.js';
import type { WorkerBook } from './worker-book.js';

const ENDED = `SELECT ${RUN_COLUMNS}, job.timeout_ms, job.begun_at FROM job WHERE state = 'leased' AND lease_until <= ?
  ORDER BY lease_until LIMIT ? FOR UPDATE SKIP LOCKED`;

/**
 * Expires at most `limit` leases and returns how many. A run that exceeded its time limit ends as a timeout; its worker, which may still be
 * renewing it, is notified.
 */
export async function expireLeases(
  transaction: Transaction,
  workers: WorkerBook,
  now: number,
  limit: number,
  random: () => number,
): Promise<{ readonly ended: number; readonly late: number }> {
  const rows = await transaction.all<RunRow & LeaseTimes>(ENDED, [now, limit]);
  const ends: RunEnd[] = [];
  let late = 0;
  for (const row of rows) {
    const limitMs = exceededLimit(row);
    if (limitMs === undefined) {
      ends.push(endByLoss(row, 'lease-expired', now));
      continue;
    }
    late += 1;
    ends.push(endByTime(row, limitMs, now, random));
    const workerId = row.worker === null ? undefined : await workers.idOf(transaction, row.worker);
    if (workerId !== undefined) transaction.cancelled.push({ id: row.id, running: { workerId, lease: row.lease } });
  }
  await endRuns(transaction, ends, now);
  return { ended: rows.length, late };
}
