import type { RunRow } from './job-row.js';
import type { Settling } from './settling.js';
import type { Transaction } from './transaction.js';

const KEEP = `UPDATE job SET output = ?, settled_lease = lease, settled_seq = ? WHERE seq = ? AND lease = ? AND state = 'cancelled'`;

/** Whether a settlement tells what a run had made that was cancelled under it. */
export function isLateOutput(row: RunRow, { lease, outcome, output }: Settling, worker: number): boolean {
  if (row.state !== 'cancelled' || row.lease !== lease || row.worker !== worker || row.settled_lease === lease) return false;
  return outcome.state === 'failed' && output !== undefined;
}

/** The job stays cancelled, for this reason as for any other; its end is told once more, with the output. */
export async function keepLateOutput(transaction: Transaction, row: RunRow, { output }: Settling): Promise<void> {
  const settledSeq = await transaction.draw('settled', 1);
  await transaction.run(KEEP, [output ?? null, settledSeq, row.seq, row.lease]);
  transaction.moved(row, 'cancelled', 'cancelled');
}
