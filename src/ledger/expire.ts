import { endRuns } from './end-runs.js';
import { RUN_COLUMNS, type RunRow } from './job-row.js';
import { endByLoss } from './run-end.js';
import type { Transaction } from './transaction.js';

const ENDED = `SELECT ${RUN_COLUMNS} FROM job WHERE state = 'leased' AND lease_until <= ?
  ORDER BY lease_until LIMIT ? FOR UPDATE SKIP LOCKED`;

/** Takes back at most `limit` leases; answers how many. */
export async function expireLeases(transaction: Transaction, now: number, limit: number): Promise<number> {
  const rows = await transaction.all<RunRow>(ENDED, [now, limit]);
  await endRuns(
    transaction,
    rows.map((row) => endByLoss(row, 'lease-expired', now)),
    now,
  );
  return rows.length;
}
