import { describeError } from '../errors.js';
import { endsOfDuplicates } from './duplicates.js';
import { failedDescendants, propagateEnds } from './graph.js';
import { addErrors } from './history.js';
import { isEnded } from './job-row.js';
import { failWithoutRun, type RunEnd, writeEnds } from './run-end.js';
import type { Transaction } from './transaction.js';
import { slotsOpened } from './workgroups.js';

/**
 * Writes ends together with all their consequences in the same transaction: for duplicates, for children, and for the workgroups of the
 * runs.
 */
export async function endRuns(transaction: Transaction, ends: readonly RunEnd[], now: number): Promise<void> {
  if (ends.length === 0) return;
  const all = [...ends, ...(await endsOfDuplicates(transaction, ends, now))];
  const failed = all.filter(({ row, state }) => row.plain === 0 && (state === 'failed' || state === 'cancelled'));
  if (failed.length > 0) {
    const ending = new Set(all.map(({ row }) => row.seq));
    const descendants = await failedDescendants(
      transaction,
      failed.map(({ row }) => row),
    );
    for (const { row, parent } of descendants)
      if (!ending.has(row.seq)) {
        const message = describeError('parent-failed', parent);
        all.push(failWithoutRun(row, { code: 'parent-failed', message }, now));
      }
  }
  await writeEnds(transaction, all, now);
  const charged = all.filter(({ charge, error }) => charge !== undefined && error !== null);
  if (charged.length > 0)
    await addErrors(
      transaction,
      charged.map(({ row, error }) => ({ job: row.seq, at: now, error: error ?? '' })),
    );
  if (all.some(({ row, state }) => row.plain === 0 && isEnded(state))) await propagateEnds(transaction, all);
  const opened = ends.flatMap(({ row }) => (row.state === 'leased' && row.workgroup !== null ? [row.workgroup] : []));
  if (opened.length > 0) await slotsOpened(transaction, opened, now);
}
