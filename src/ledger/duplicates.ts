import { RUN_COLUMNS, type RunRow } from './job-row.js';
import { endAsDuplicate, type RunEnd } from './run-end.js';
import type { Transaction } from './transaction.js';

const UNFINISHED = `SELECT ${RUN_COLUMNS} FROM job WHERE merge_key IS NOT NULL AND state IN ('ready', 'blocked') AND channel = ? AND merge_key = ?
  ORDER BY seq FOR UPDATE`;
const RELEASE = `UPDATE job SET parked = NULL WHERE parked = 'twin' AND channel = ? AND merge_key = ?`;

/**
 * Returns the ends that runs with a key cause for their unfinished duplicates, including paused, blocked and later-added ones: the same
 * output, or the same charge. A run without a result (released, cancelled, reset) only frees the next duplicate to run.
 */
export async function endsOfDuplicates(transaction: Transaction, ends: readonly RunEnd[], now: number): Promise<RunEnd[]> {
  const duplicates: RunEnd[] = [];
  for (const end of ends) {
    const { seq, state, channel, merge_key } = end.row;
    if (state !== 'leased' || merge_key === null) continue;
    if (end.state === 'completed' || end.charge !== undefined) {
      for (const row of await transaction.all<RunRow>(UNFINISHED, [channel, merge_key]))
        if (row.seq !== seq) duplicates.push(endAsDuplicate(row, end, now));
    } else await releaseDuplicates(transaction, end.row);
  }
  return duplicates;
}

/** Releases the parked duplicates of a job whose run has ended: one of them may run now. */
export async function releaseDuplicates(transaction: Transaction, { channel, merge_key }: RunRow): Promise<void> {
  if (merge_key !== null && (await transaction.run(RELEASE, [channel, merge_key])) > 0) transaction.freed();
}
