import { stopRuns } from './cancel.js';
import { deleteRows } from './delete-rows.js';
import { descendantsOf } from './graph.js';
import type { RunRow } from './job-row.js';
import type { CancelledJob } from './ledger.js';
import type { Transaction } from './transaction.js';
import { letTwinsOut } from './twins.js';
import type { WorkerBook } from './worker-book.js';
import { slotsOpened } from './workgroups.js';

/** Forgets jobs, which are locked, with all that descends from them. */
export async function deleteJobs(
  transaction: Transaction,
  workers: WorkerBook,
  rows: readonly RunRow[],
  now: number,
): Promise<{ readonly deleted: number; readonly cancelled: CancelledJob[] }> {
  const all = await descendantsOf(
    transaction,
    rows.map(({ seq }) => seq),
  );
  for (const row of rows) all.set(row.seq, row);
  const gone = [...all.values()];
  const running = gone.filter(({ state }) => state === 'leased');
  const cancelled = await stopRuns(transaction, workers, running);
  await deleteRows(transaction, gone);
  for (const row of running) await letTwinsOut(transaction, row);
  const opened = running.flatMap(({ workgroup }) => workgroup ?? []);
  if (opened.length > 0) await slotsOpened(transaction, opened, now);
  return { deleted: gone.length, cancelled };
}
