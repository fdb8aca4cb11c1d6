import { checkJobField } from '../job/job-input.js';
import { stopRuns } from './cancel.js';
import { releaseDuplicates } from './duplicates.js';
import { failedBecauseOf, recount } from './graph.js';
import { forgetHistory } from './history.js';
import type { RunRow } from './job-row.js';
import type { CancelledJob } from './ledger-change.js';
import { padded, pieces, repeated, sized } from './lists.js';
import { CHUNK, type Operations } from './operations.js';
import { lastSettled } from './read.js';
import { readRuns } from './read-runs.js';
import type { RedriveFilter } from './records.js';
import { endedRows } from './select.js';
import type { Transaction } from './transaction.js';
import type { WorkerBook } from './worker-book.js';
import { slotsOpened } from './workgroups.js';

const RESTART = sized(
  (
    count,
  ) => `UPDATE job SET state = 'blocked', attempts_made = 0, run_at = NULL, parked = NULL, lease_until = NULL, worker = NULL, merged_with = NULL,
  settled_seq = NULL, started_at = NULL, finished_at = NULL, error = NULL, output = NULL, outcome_files = NULL
  WHERE seq IN (${repeated('?', count)})`,
);
const SET_ATTEMPTS = sized((count) => `UPDATE job SET attempts_allowed = ? WHERE seq IN (${repeated('?', count)})`);

export function retryJobs(operations: Operations, ids: readonly string[], now: number): Promise<string[]> {
  return operations.inChunks(ids, async (transaction, chunk) => {
    const rows = [...(await readRuns(transaction, chunk)).values()];
    return (await retryRuns(transaction, rows, transaction.at(now))).map(({ id }) => id);
  });
}

export async function redrive(operations: Operations, filter: RedriveFilter, limit: number, now: number): Promise<number> {
  let redriven = 0;
  const last = await operations.run(1, lastSettled);
  while (redriven < limit) {
    const count = Math.min(CHUNK, limit - redriven);
    const batch = await operations.run(count, async (transaction) =>
      retryRuns(transaction, await endedRows(transaction, filter, last, count), transaction.at(now)),
    );
    redriven += batch.length;
    if (batch.length < count) break;
  }
  return redriven;
}

/** Resets jobs in any state. `attempts` sets the number of attempts from now on (default: unchanged). Throws `job-invalid`. */
export async function resetJobs(
  operations: Operations,
  ids: readonly string[],
  now: number,
  attempts: number | undefined,
): Promise<CancelledJob[]> {
  const allowed = attempts === undefined ? undefined : checkJobField('attempts', attempts);
  return operations.inChunks(ids, async (transaction, chunk) =>
    resetRuns(transaction, operations.workers, [...(await readRuns(transaction, chunk)).values()], allowed, transaction.at(now)),
  );
}

/** Makes locked jobs wait again with their full attempts: blocked while parents have not ended, ready otherwise. */
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
  for (const row of running) await releaseDuplicates(transaction, row);
  const opened = running.flatMap(({ workgroup }) => workgroup ?? []);
  if (opened.length > 0) await slotsOpened(transaction, opened, now);
}

/** Retries failed and cancelled jobs, along with those that failed because of them. Returns the former only. */
export async function retryRuns(transaction: Transaction, rows: readonly RunRow[], now: number): Promise<RunRow[]> {
  const retried = rows.filter(({ state }) => state === 'failed' || state === 'cancelled');
  if (retried.length === 0) return [];
  const all = new Map(retried.map((row) => [row.seq, row]));
  for (const row of await failedBecauseOf(transaction, [...all.keys()])) all.set(row.seq, row);
  await restart(transaction, [...all.values()], now);
  return retried;
}

/** Resets jobs in any state and drops their history. Returns those that were running. */
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
  if (attempts !== undefined) await transaction.runOf(SET_ATTEMPTS, seqs, [attempts]);
  return stopped;
}
