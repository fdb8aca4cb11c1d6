import { endRuns } from './end-runs.js';
import { isEnded, type RunRow } from './job-row.js';
import type { CancelledJob } from './ledger-change.js';
import { readRuns } from './read-runs.js';
import { endByCancel } from './run-end.js';
import type { Transaction } from './transaction.js';
import type { WorkerBook } from './worker-book.js';

export async function cancelJobs(
  transaction: Transaction,
  workers: WorkerBook,
  ids: readonly string[],
  now: number,
): Promise<CancelledJob[]> {
  const runs = await readRuns(transaction, ids);
  const rows = [...new Set(ids)].flatMap((id) => runs.get(id) ?? []).filter(({ state }) => !isEnded(state));
  const cancelled = await stopRuns(transaction, workers, rows);
  await endRuns(
    transaction,
    rows.map((row) => endByCancel(row, now)),
    now,
  );
  return cancelled;
}

/** Returns the jobs, with the workers to notify for those that are running: their runs no longer count. */
export async function stopRuns(transaction: Transaction, workers: WorkerBook, rows: readonly RunRow[]): Promise<CancelledJob[]> {
  const cancelled: CancelledJob[] = [];
  for (const { id, state, worker, lease } of rows) {
    const workerId = state === 'leased' && worker !== null ? await workers.idOf(transaction, worker) : undefined;
    const job = workerId === undefined ? { id } : { id, running: { workerId, lease } };
    cancelled.push(job);
    if (workerId !== undefined) transaction.cancelled.push(job);
  }
  return cancelled;
}
