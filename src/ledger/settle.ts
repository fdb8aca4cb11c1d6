import { PeerworkError } from '../errors.js';
import type { Outcome } from '../job/job.js';
import type { SettleAnswer, Settlement } from '../job/verbs.js';
import { boundChildren, checkWaits } from './child-bounds.js';
import { type CheckedChild, checkChildren, createChildren } from './children.js';
import { type Completed, completeRuns, isPlainCompletion } from './complete.js';
import { endRuns } from './end-runs.js';
import { unknownFile } from './files.js';
import { addLines, type Line, lastLines } from './history.js';
import type { RunRow } from './job-row.js';
import type { Adding, Operations } from './operations.js';
import { readRuns } from './read-runs.js';
import type { WorkerRef } from './records.js';
import type { ChildPolicy } from './requests.js';
import { resumeRuns } from './resume.js';
import { endByOutcome, type RunEnd } from './run-end.js';
import { type Settling, settling } from './settling.js';
import type { Transaction } from './transaction.js';
import { holdAfter } from './workgroups.js';

const KEEP_OUTPUT = `UPDATE job SET output = ?, settled_lease = lease, settled_seq = ? WHERE seq = ? AND lease = ? AND state = 'cancelled'`;

/** Reports that count as one job: storing a few of them costs little compared to settling the job. */
const REPORTS_PER_WEIGHT = 4;

const ownChannelOnly: ChildPolicy = () => ({});

export function settleInChunks(
  operations: Operations,
  worker: WorkerRef,
  settlements: readonly Settlement[],
  now: number,
  policy: ChildPolicy = ownChannelOnly,
): Promise<SettleAnswer[]> {
  return operations.ofWorker(
    worker,
    settlements,
    (transaction, seq, chunk) => settleRuns(transaction, seq, chunk, policy, operations.adding(transaction, now)),
    ({ outcome, reports = [] }) =>
      1 + (outcome.state === 'completed' ? (outcome.children?.length ?? 0) : 0) + Math.floor(reports.length / REPORTS_PER_WEIGHT),
  );
}

/**
 * The fence: a run can be settled only once, only by the worker that holds it, and only under its current lease number. If the job was
 * cancelled, the output of its run is still accepted.
 */
async function settleRuns(
  transaction: Transaction,
  worker: number,
  settlements: readonly Settlement[],
  policy: ChildPolicy,
  adding: Adding,
): Promise<SettleAnswer[]> {
  const answers: SettleAnswer[] = [];
  let waiting = [...settlements.map(settling).entries()];
  while (waiting.length > 0) {
    // A job that is named twice is settled in rounds: the result of its first settlement decides about the second.
    const round = new Map<string, Entry>();
    const later: typeof waiting = [];
    for (const entry of waiting) {
      if (round.has(entry[1].id)) later.push(entry);
      else round.set(entry[1].id, entry);
    }
    const entries = [...round.values()];
    const plain = entries.filter(isPlainEntry);
    const others = entries.filter((entry) => !isPlainEntry(entry));
    if (plain.length > 0) others.push(...(await settlePlain(transaction, worker, plain, adding.now, answers)));
    if (others.length > 0) await settleOthers(transaction, worker, others, policy, adding, answers);
    waiting = later;
  }
  return answers;
}

type Entry<S extends Settling = Settling> = readonly [index: number, settlement: S];

function isPlainEntry(entry: Entry): entry is Entry<Completed> {
  return isPlainCompletion(entry[1]);
}

/**
 * The fast path for nearly all settlements: completions that do not affect other jobs. Returns the entries that are not plain, or that the
 * worker does not hold.
 */
async function settlePlain(
  transaction: Transaction,
  worker: number,
  entries: readonly Entry<Completed>[],
  now: number,
  answers: SettleAnswer[],
): Promise<Entry[]> {
  const settlements = entries.map((entry) => entry[1]);
  const { changed, firstSeq } = await completeRuns(transaction, worker, settlements, now);
  const runs = changed === entries.length ? undefined : await readRuns(transaction, settlements.map(idOf));
  return entries.filter(([index, { id }], place) => {
    const done = runs === undefined || runs.get(id)?.settled_seq === firstSeq + place;
    if (done) answers[index] = 'settled';
    return !done;
  });
}

async function settleOthers(
  transaction: Transaction,
  worker: number,
  entries: readonly Entry[],
  policy: ChildPolicy,
  adding: Adding,
  answers: SettleAnswer[],
): Promise<void> {
  const { now, random } = adding;
  const runs = await readRuns(
    transaction,
    entries.map((entry) => idOf(entry[1])),
  );
  const ends: RunEnd[] = [];
  const holds = new Map<number, number>();
  const lines: Line[] = [];
  for (const [index, settlement] of entries) {
    const found = runs.get(settlement.id);
    const isLate = found !== undefined && isLateOutput(found, settlement, worker);
    const row = isLate ? found : await heldRun(transaction, found, settlement, worker, now);
    // Keep the reports of a run even if it was ended from outside, for example by the job's owner.
    if (row !== undefined && row.lease === settlement.lease && row.worker === worker && row.settled_lease !== row.lease)
      lines.push(...lastLines(row.seq, settlement, now));
    if (isLate) {
      await keepLateOutput(transaction, found, settlement);
      answers[index] = 'settled';
      continue;
    }
    if (row === undefined || row.state !== 'leased' || row.lease !== settlement.lease || row.worker !== worker) {
      answers[index] = unsettledAnswer(row, settlement, worker);
      continue;
    }
    answers[index] = 'settled';
    const { outcome, children } = await checkedOutcome(transaction, row, settlement.outcome, policy, now);
    const creates = outcome.state === 'completed' && (children.length > 0 || outcome.childrenDelayMs !== undefined);
    if (creates) await addChildren(transaction, row, children, outcome.childrenDelayMs ?? 0, adding);
    ends.push(endByOutcome(creates ? { ...row, plain: 0 } : row, outcome, settlement.output, settlement, now, random));
    if (outcome.state !== 'released' && outcome.holdMs !== undefined && row.workgroup !== null)
      holds.set(row.workgroup, Math.max(holds.get(row.workgroup) ?? 0, now + outcome.holdMs));
  }
  // Reports come before the errors in the history.
  await addLines(transaction, lines);
  // The hold must be in place before the slots of these runs go to others.
  await holdAfter(transaction, holds);
  await endRuns(transaction, ends, now);
}

/** Returns the job's row. If the lease expired but nobody else has the job, the lease is resumed first, so that the outcome counts. */
async function heldRun(
  transaction: Transaction,
  row: RunRow | undefined,
  { lease }: Settling,
  worker: number,
  now: number,
): Promise<RunRow | undefined> {
  if (row === undefined || row.state !== 'ready' || row.lease !== lease || row.worker !== worker) return row;
  const resumed = await resumeRuns(transaction, [row], now, now);
  return resumed.has(row.seq) ? (await readRuns(transaction, [row.id])).get(row.id) : row;
}

/**
 * A run that requests something it may not have fails without a retry, since it would fail again. If it failed anyway, its own error is
 * kept and the hold is dropped.
 */
async function checkedOutcome(
  transaction: Transaction,
  row: RunRow,
  outcome: Outcome,
  policy: ChildPolicy,
  now: number,
): Promise<{ readonly outcome: Outcome; readonly children: readonly CheckedChild[] }> {
  if (outcome.state === 'released') return { outcome, children: [] };
  try {
    if (policy !== 'any') checkWaits(outcome);
    const children = outcome.state === 'completed' && outcome.children !== undefined ? checkChildren(outcome.children, now) : [];
    if (children.length === 0) return { outcome, children };
    const unknown = await unknownFile(
      transaction,
      children.flatMap(({ job: { files } }) => (files === undefined ? [] : [files])),
    );
    if (unknown !== undefined) throw new PeerworkError('children-invalid', `a file that is not stored: ${unknown}`);
    return { outcome, children: await boundChildren(transaction, row, children, policy) };
  } catch (thrown) {
    if (!(thrown instanceof PeerworkError) || !REFUSALS.has(thrown.code)) throw thrown;
    const { code, message } = thrown;
    if (outcome.state === 'failed') {
      const { error, retry } = outcome;
      return { outcome: { state: 'failed', error: { ...error, message: `${error.message} (${message})` }, retry }, children: [] };
    }
    const holdMs = code === 'hold-too-long' ? undefined : outcome.holdMs;
    return { outcome: { state: 'failed', error: { code, message }, retry: false, holdMs }, children: [] };
  }
}

const REFUSALS: ReadonlySet<string> = new Set(['children-invalid', 'hold-too-long']);

const NOT_BEFORE = `UPDATE job SET run_at = ? WHERE seq IN (SELECT child FROM edge WHERE parent = ?) AND state IN ('blocked', 'ready')
  AND (run_at IS NULL OR run_at < ?)`;

async function addChildren(
  transaction: Transaction,
  row: RunRow,
  children: readonly CheckedChild[],
  delayMs: number,
  adding: Adding,
): Promise<void> {
  await createChildren(transaction, row, children, adding);
  const from = adding.now + delayMs;
  if (delayMs === 0) return;
  transaction.due(from);
  await transaction.run(NOT_BEFORE, [from, row.seq, from]);
}

function idOf(settlement: Settlement): string {
  return settlement.id;
}

function unsettledAnswer(row: RunRow | undefined, settlement: Settlement, worker: number): SettleAnswer {
  const isRepeat = row !== undefined && row.worker === worker && row.lease === settlement.lease && row.settled_lease === row.lease;
  return isRepeat ? 'duplicate' : 'stale';
}

/** Returns whether the settlement carries the output of a run that was cancelled in the meantime. */
function isLateOutput(row: RunRow, { lease, outcome, output }: Settling, worker: number): boolean {
  if (row.state !== 'cancelled' || row.lease !== lease || row.worker !== worker || row.settled_lease === lease) return false;
  return outcome.state === 'failed' && output !== undefined;
}

/** The job stays cancelled whatever the settlement's error says; its end is announced again, now with the output. */
async function keepLateOutput(transaction: Transaction, row: RunRow, { output }: Settling): Promise<void> {
  const settledSeq = await transaction.draw('settled', 1);
  await transaction.run(KEEP_OUTPUT, [output ?? null, settledSeq, row.seq, row.lease]);
  transaction.moved(row, 'cancelled', 'cancelled');
}
