import type { CancelledJob } from './ledger.js';
import { endByCancel, type RunEnd, writeEnds } from './run-end.js';
import { readRuns } from './settle.js';
import type { Transaction } from './transaction.js';
import type { WorkerBook } from './worker-book.js';

export async function cancelJobs(
  transaction: Transaction,
  workers: WorkerBook,
  ids: readonly string[],
  now: number,
): Promise<CancelledJob[]> {
  const runs = await readRuns(transaction, ids);
  const ends: RunEnd[] = [];
  const cancelled: CancelledJob[] = [];
  for (const id of new Set(ids)) {
    const row = runs.get(id);
    if (row === undefined || !(row.state === 'ready' || row.state === 'blocked' || row.state === 'leased')) continue;
    ends.push(endByCancel(row, now));
    const workerId = row.state === 'leased' && row.worker !== null ? await workers.idOf(transaction, row.worker) : undefined;
    const job = workerId === undefined ? { id } : { id, running: { workerId, lease: row.lease } };
    cancelled.push(job);
    if (workerId !== undefined) transaction.cancelled.push(job);
  }
  await writeEnds(transaction, ends);
  return cancelled;
}
