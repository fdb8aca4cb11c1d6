import { describeError } from '../errors.js';
import { fallenWith, passOn } from './graph.js';
import { addErrors } from './history.js';
import { isEnded } from './job-row.js';
import { endUntried, type RunEnd, writeEnds } from './run-end.js';
import type { Transaction } from './transaction.js';
import { twinsOf } from './twins.js';
import { slotsOpened } from './workgroups.js';

/** Writes ends with all that follows from them in the same transaction: for twins, for children, for the workgroups of the runs. */
export async function endRuns(transaction: Transaction, ends: readonly RunEnd[], now: number): Promise<void> {
  if (ends.length === 0) return;
  const all = [...ends, ...(await twinsOf(transaction, ends, now))];
  const failed = all.filter(({ row, state }) => row.plain === 0 && (state === 'failed' || state === 'cancelled'));
  if (failed.length > 0) {
    const ending = new Set(all.map(({ row }) => row.seq));
    const fallen = await fallenWith(
      transaction,
      failed.map(({ row }) => row),
    );
    for (const { row, parent } of fallen)
      if (!ending.has(row.seq)) {
        const message = describeError('parent-failed', parent);
        all.push(endUntried(row, { code: 'parent-failed', message }, now));
      }
  }
  await writeEnds(transaction, all);
  const charged = all.filter(({ charge, error }) => charge !== undefined && error !== null);
  if (charged.length > 0)
    await addErrors(
      transaction,
      charged.map(({ row, error }) => ({ job: row.seq, at: now, error: error ?? '' })),
    );
  if (all.some(({ row, state }) => row.plain === 0 && isEnded(state))) await passOn(transaction, all);
  const opened = ends.flatMap(({ row }) => (row.state === 'leased' && row.workgroup !== null ? [row.workgroup] : []));
  if (opened.length > 0) await slotsOpened(transaction, opened, now);
}
