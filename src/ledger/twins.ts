import { RUN_COLUMNS, type RunRow } from './job-row.js';
import { endAsTwin, type RunEnd } from './run-end.js';
import type { Transaction } from './transaction.js';

const TWINS = `SELECT ${RUN_COLUMNS} FROM job WHERE merge_key IS NOT NULL AND state IN ('ready', 'blocked') AND channel = ? AND merge_key = ?
  ORDER BY seq FOR UPDATE`;
const LET_OUT = `UPDATE job SET parked = NULL WHERE parked = 'twin' AND channel = ? AND merge_key = ?`;

/**
 * What the ends of runs with a key mean to their unfinished twins, be they paused, blocked or younger than the run: the same output, or the same
 * charge. A run that nothing is known of (given back, cancelled, begun anew) only makes way for the next of them.
 */
export async function twinsOf(transaction: Transaction, ends: readonly RunEnd[], now: number): Promise<RunEnd[]> {
  const twins: RunEnd[] = [];
  for (const end of ends) {
    const { seq, state, channel, merge_key } = end.row;
    if (state !== 'leased' || merge_key === null) continue;
    if (end.state === 'completed' || end.charge !== undefined) {
      for (const row of await transaction.all<RunRow>(TWINS, [channel, merge_key]))
        if (row.seq !== seq) twins.push(endAsTwin(row, end, now));
    } else await letTwinsOut(transaction, end.row);
  }
  return twins;
}

/** The run of a twin is no more: another one may run. */
export async function letTwinsOut(transaction: Transaction, { channel, merge_key }: RunRow): Promise<void> {
  if (merge_key !== null && (await transaction.run(LET_OUT, [channel, merge_key])) > 0) transaction.freed();
}
