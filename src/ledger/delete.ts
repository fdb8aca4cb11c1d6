import { stopRuns } from './cancel.js';
import { releaseDuplicates } from './duplicates.js';
import { forgetFiles } from './files.js';
import { descendantsOf } from './graph.js';
import { forgetHistory } from './history.js';
import type { RunRow } from './job-row.js';
import type { CancelledJob } from './ledger-change.js';
import { repeated, sized } from './lists.js';
import type { Operations } from './operations.js';
import { readRuns } from './read-runs.js';
import type { JobState } from './records.js';
import type { Movable, Transaction } from './transaction.js';
import type { WorkerBook } from './worker-book.js';
import { slotsOpened } from './workgroups.js';

const EDGES_UP = sized((count) => `DELETE FROM edge WHERE child IN (${repeated('?', count)})`);
const EDGES_DOWN = sized((count) => `DELETE FROM edge WHERE parent IN (${repeated('?', count)})`);
const JOBS = sized((count) => `DELETE FROM job WHERE seq IN (${repeated('?', count)})`);

interface Deleted {
  readonly deleted: number;
  readonly cancelled: CancelledJob[];
}

export async function deleteInChunks(operations: Operations, ids: readonly string[], now: number): Promise<Deleted> {
  const parts = await operations.inChunks(ids, async (transaction, chunk) => [
    await deleteJobs(transaction, operations.workers, [...(await readRuns(transaction, chunk)).values()], transaction.at(now)),
  ]);
  return { deleted: parts.reduce((sum, { deleted }) => sum + deleted, 0), cancelled: parts.flatMap(({ cancelled }) => cancelled) };
}

/** Deletes locked jobs with all their descendants. */
export async function deleteJobs(transaction: Transaction, workers: WorkerBook, rows: readonly RunRow[], now: number): Promise<Deleted> {
  const all = await descendantsOf(
    transaction,
    rows.map(({ seq }) => seq),
  );
  for (const row of rows) all.set(row.seq, row);
  const doomed = [...all.values()];
  const running = doomed.filter(({ state }) => state === 'leased');
  const cancelled = await stopRuns(transaction, workers, running);
  await deleteRows(transaction, doomed);
  for (const row of running) await releaseDuplicates(transaction, row);
  const opened = running.flatMap(({ workgroup }) => workgroup ?? []);
  if (opened.length > 0) await slotsOpened(transaction, opened, now);
  return { deleted: doomed.length, cancelled };
}

/** Deletes locked jobs with their edges and history. The caller ensures that no other job needs them. */
export async function deleteRows(
  transaction: Transaction,
  rows: readonly (Movable & { readonly seq: number; readonly state: JobState })[],
): Promise<void> {
  const seqs = rows.map(({ seq }) => seq);
  await transaction.runOf(EDGES_UP, seqs);
  await transaction.runOf(EDGES_DOWN, seqs);
  await forgetHistory(transaction, seqs);
  await forgetFiles(transaction, seqs);
  await transaction.runOf(JOBS, seqs);
  for (const row of rows) transaction.moved(row, row.state, 'deleted');
}
