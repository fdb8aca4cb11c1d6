import type { Outcome } from '../job/job.js';
import type { Value } from './driver.js';
import { addLines, type Line, lastLines } from './history.js';
import { padded, pieces, sized, valuesOf } from './lists.js';
import { packed } from './packed.js';
import type { Settling } from './settling.js';
import type { Movable, Transaction } from './transaction.js';
import { slotsOpened } from './workgroups.js';

export type Completed = Settling & { readonly outcome: Extract<Outcome, { state: 'completed' }> };

/** Returns whether the outcome only completes the job: no children, no hold. */
export function isPlainCompletion({ outcome }: Settling): boolean {
  return (
    outcome.state === 'completed' &&
    outcome.files === undefined &&
    outcome.children === undefined &&
    outcome.childrenDelayMs === undefined &&
    outcome.holdMs === undefined
  );
}

/**
 * The common case, so the rows are not read first. A tuple holds id, lease, settled_seq, earliest start, duration and output.
 *
 * The worker's clock may be wrong: the duration it reports is trusted, and shifted to lie between the claim and now. The claim may have
 * been written by another Master whose time is slightly ahead.
 */
const COMPLETE = sized(
  (count) => `UPDATE job SET state = 'completed', settled_lease = lease, settled_seq = v.column3,
  attempts_made = attempts_made + 1, lease_until = NULL, error = NULL, output = v.column6,
  started_at = CASE WHEN started_at > v.column4 THEN started_at ELSE v.column4 END,
  finished_at = CASE WHEN started_at <= v.column4 THEN v.column4 + v.column5
    WHEN started_at + v.column5 < CAST(? AS INTEGER) THEN started_at + v.column5 WHEN started_at < CAST(? AS INTEGER) THEN CAST(? AS INTEGER) ELSE started_at END
  FROM (${valuesOf(['TEXT', 'INTEGER', 'INTEGER', 'INTEGER', 'INTEGER', 'TEXT'], count)}) AS v
  WHERE job.id = v.column1 AND job.lease = v.column2 AND job.state = 'leased' AND job.worker = ?
  AND job.plain = 1`,
);
type CompletedRow = Movable & { readonly seq: number; readonly settled_seq: number; readonly workgroup: number | null };
const COMPLETED = `SELECT ${packed('seq, settled_seq, id, channel, grp, workgroup, weight, weight_part')} FROM job WHERE settled_seq >= ? AND settled_seq < ?`;

/**
 * Completes the runs that the worker holds and whose jobs are plain, and records their last reports. No job may be named twice. Returns how
 * many were completed, and the first settlement number: the settlement with index i was recorded if its job has the number `firstSeq + i`.
 */
export async function completeRuns(
  transaction: Transaction,
  worker: number,
  settlements: readonly Completed[],
  now: number,
): Promise<{ readonly changed: number; readonly firstSeq: number }> {
  const firstSeq = await transaction.draw('settled', settlements.length);
  let changed = 0;
  let seq = firstSeq;
  for (const piece of pieces(settlements)) {
    const list = padded(
      piece.map((settlement): readonly Value[] => {
        const tookMs = Math.max(0, settlement.finishedAt - settlement.startedAt);
        const from = Math.min(settlement.finishedAt, now) - tookMs;
        return [settlement.id, settlement.lease, seq++, from, tookMs, settlement.output ?? 'null'];
      }),
    );
    changed += await transaction.run(COMPLETE(list.length), [now, now, now, ...list.flat(), worker]);
  }
  const opened: number[] = [];
  const lines: Line[] = [];
  const fresh = new Set<number>();
  for (const row of await transaction.all<CompletedRow>(COMPLETED, [firstSeq, seq])) {
    transaction.moved(row, 'leased', 'completed');
    if (row.workgroup !== null) opened.push(row.workgroup);
    const settlement = settlements[row.settled_seq - firstSeq];
    if (settlement?.reports === undefined) continue;
    lines.push(...lastLines(row.seq, settlement, now));
    // This is the first run and these are all its reports: looking up earlier ones would be half of the work.
    if (settlement.lease === 1 && settlement.reports[0]?.n === 1) fresh.add(row.seq);
  }
  await addLines(transaction, lines, fresh);
  if (opened.length > 0) await slotsOpened(transaction, opened, now);
  return { changed, firstSeq };
}
