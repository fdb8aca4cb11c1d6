import { cancelJobs } from './cancel.js';
import { deleteJobs } from './delete.js';
import { deleteGroupRow, lockGroup, setPaused } from './groups.js';
import type { CancelledJob } from './ledger-change.js';
import { CHUNK, type Operations } from './operations.js';
import { lastSettled } from './read.js';
import { resetRuns, retryRuns } from './restart.js';
import { allOfGroup, endedRows, someOfGroup, unfinishedOfGroup } from './select.js';
import type { Transaction } from './transaction.js';

/**
 * Retries the failed jobs of a group. Operations on a whole group run in chunks with other work in between, except for the reset: a
 * half-reset group would be worse than one that takes a moment longer. All of them return undefined if there is no such group.
 */
export async function retryGroup(operations: Operations, id: string, now: number): Promise<number | undefined> {
  if ((await inGroup(operations, id, async () => true)) === undefined) return undefined;
  const last = await operations.run(1, lastSettled);
  const retried = await operations.untilNone(async (transaction) =>
    retryRuns(transaction, await endedRows(transaction, { group: id }, last, CHUNK), transaction.at(now)),
  );
  return retried.length;
}

export function resetGroup(operations: Operations, id: string, now: number): Promise<CancelledJob[] | undefined> {
  return inGroup(operations, id, async (transaction, grp) => {
    const rows = await allOfGroup(transaction, grp);
    const seeded = rows.some(({ seed }) => seed === 1);
    const unseeded = seeded ? rows.filter(({ seed }) => seed === 0) : [];
    const deleted = new Set(unseeded);
    const { cancelled } = await deleteJobs(transaction, operations.workers, unseeded, transaction.at(now));
    const kept = rows.filter((row) => !deleted.has(row));
    return [...cancelled, ...(await resetRuns(transaction, operations.workers, kept, undefined, transaction.at(now)))];
  });
}

export function cancelGroup(operations: Operations, id: string, now: number): Promise<CancelledJob[] | undefined> {
  return inChunksOfGroup(operations, id, async (transaction, grp) =>
    cancelJobs(transaction, operations.workers, await unfinishedOfGroup(transaction, grp, CHUNK), transaction.at(now)),
  );
}

export async function deleteGroup(operations: Operations, id: string, now: number): Promise<CancelledJob[] | undefined> {
  const cancelled: CancelledJob[] = [];
  const deleted = await inChunksOfGroup(operations, id, async (transaction, grp) => {
    const rows = await someOfGroup(transaction, grp, CHUNK);
    const { cancelled: stopped } = await deleteJobs(transaction, operations.workers, rows, transaction.at(now));
    cancelled.push(...stopped);
    if (rows.length === 0) await deleteGroupRow(transaction, id);
    return rows;
  });
  return deleted === undefined ? undefined : cancelled;
}

/** Returns false if there is no such group. */
export async function setGroupPaused(operations: Operations, id: string, paused: boolean): Promise<boolean> {
  const done = await inGroup(operations, id, async (transaction, grp) => {
    await setPaused(transaction, grp, paused);
    return true;
  });
  return done ?? false;
}

function inGroup<T>(
  operations: Operations,
  id: string,
  work: (transaction: Transaction, grp: number) => Promise<T>,
): Promise<T | undefined> {
  return operations.run(1, async (transaction) => {
    const grp = await lockGroup(transaction, id);
    return grp === undefined ? undefined : work(transaction, grp);
  });
}

/** Repeats `work`, which processes one chunk, until it finds nothing to do. */
async function inChunksOfGroup<T>(
  operations: Operations,
  id: string,
  work: (transaction: Transaction, grp: number) => Promise<readonly T[]>,
): Promise<T[] | undefined> {
  const results: T[] = [];
  for (let known = false; ; known = true) {
    const batch = await inGroup(operations, id, work);
    if (batch === undefined) return known ? results : undefined;
    if (batch.length === 0) return results;
    results.push(...batch);
  }
}
