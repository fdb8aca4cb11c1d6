import { stopRuns } from './cancel.js';
import { failedWith, recount } from './graph.js';
import { forgetHistory } from './history.js';
import { isEnded, type RunRow } from './job-row.js';
import type { CancelledJob } from './ledger.js';
import { padded, pieces, repeated, sized } from './lists.js';
import type { Transaction } from './transaction.js';
import { letTwinsOut } from './twins.js';
import type { WorkerBook } from './worker-book.js';
import { slotsOpened } from './workgroups.js';

const RESTART = sized(
  (
    count,
  ) => `UPDATE job SET state = 'blocked', attempts_made = 0, run_at = NULL, parked = NULL, lease_until = NULL, worker = NULL, merged_with = NULL,
  settled_seq = NULL, started_at = NULL, finished_at = NULL, error = NULL, output = NULL
  WHERE seq IN (${repeated('?', count)})`,
);
const ALLOW = sized((count) => `UPDATE job SET attempts_allowed = ? WHERE seq IN (${repeated('?', count)})`);

/** Jobs, which are locked, wait again with all their attempts: for their parents as far as these have not ended, else to be claimed. */
export async function restart(transaction: Transaction, rows: readonly RunRow[], now: number): Promise<void> {
  for (const piece of pieces(rows.map(({ seq }) => seq))) {
    const list = padded(piece);
    await transaction.run(RESTART(list.length), list);
  }
  for (const row of rows) transaction.moved(row, row.state, 'blocked');
  await recount(
    transaction,
    rows.map((row) => ({ ...row, state: 'blocked' })),
  );
  const running = rows.filter(({ state }) => state === 'leased');
  for (const row of running) await letTwinsOut(transaction, row);
  const opened = running.flatMap(({ workgroup }) => workgroup ?? []);
  if (opened.length > 0) await slotsOpened(transaction, opened, now);
}

/** Failed and cancelled jobs wait again, and with them those that failed for their sake. Answers the former. */
export async function retryRuns(transaction: Transaction, rows: readonly RunRow[], now: number): Promise<RunRow[]> {
  const retried = rows.filter(({ state }) => state === 'failed' || state === 'cancelled');
  if (retried.length === 0) return [];
  const all = new Map(retried.map((row) => [row.seq, row]));
  for (const row of await failedWith(transaction, [...all.keys()])) all.set(row.seq, row);
  await restart(transaction, [...all.values()], now);
  return retried;
}

/** Jobs in any state begin anew, without a past. Answers those that ran. */
export async function resetRuns(
  transaction: Transaction,
  workers: WorkerBook,
  rows: readonly RunRow[],
  attempts: number | undefined,
  now: number,
): Promise<CancelledJob[]> {
  const stopped = await stopRuns(
    transaction,
    workers,
    rows.filter(({ state }) => state === 'leased'),
  );
  await restart(transaction, rows, now);
  const seqs = rows.map(({ seq }) => seq);
  await forgetHistory(transaction, seqs);
  if (attempts !== undefined) await transaction.runOf(ALLOW, seqs, [attempts]);
  return stopped;
}

export function hasFailed({ state }: RunRow): boolean {
  return isEnded(state) && state !== 'completed';
}
