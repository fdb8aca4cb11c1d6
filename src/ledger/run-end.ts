import { describeError } from '../errors.js';
import type { JobFiles } from '../job/files.js';
import type { JobError, Outcome } from '../job/job.js';
import { MAX_BACKOFF_MS } from '../job/limits.js';
import { backoffMs } from '../kit/backoff.js';
import type { Value } from './driver.js';
import { keepOutcomeFiles } from './files.js';
import { errorText, isEnded, type RunRow } from './job-row.js';
import { padded, pieces, sized, valuesOf } from './lists.js';
import type { JobState } from './records.js';
import type { Transaction } from './transaction.js';

/**
 * The end of a run, or of a job that will not run. A leased job becomes
 *   completed                           by an outcome with output,
 *   failed                              by an error that is final or that used up the last attempt,
 *   ready after a back-off              by any other error (an attempt is charged),
 *   ready, at its old place             when released or never received (nothing is charged), or when its worker was lost (an attempt is
 *                                       charged; with `workerLoss: fail` it fails),
 *   cancelled                           by its owner, also from `ready` and `blocked`.
 * A persistent job never completes and never fails: it becomes ready again. What an end causes for other jobs is in end-runs.ts.
 */
export interface RunEnd {
  readonly row: RunRow;
  readonly state: JobState;
  readonly attemptsMade: number;
  readonly runAt: number | null;
  /** Whether the worker reported this end, so that a repeated settlement is a duplicate. */
  readonly settled: boolean;
  readonly startedAt: number | null;
  readonly finishedAt: number | null;
  readonly error: string | null;
  readonly output: string | null;
  /** Files that the run made, of an end that is final. */
  readonly files?: JobFiles | undefined;
  /** Set if an attempt is charged, which charges its duplicates too. `final`: no further attempt would help. */
  readonly charge?: { readonly final: boolean };
  /** The duplicate that this outcome comes from. */
  readonly mergedWith?: RunRow;
  /** The lease expired in silence: its worker may resume it while nobody else has the job. */
  readonly resumable?: true;
}

/** Start and end of a run. */
export interface RunTimes {
  readonly startedAt: number;
  readonly finishedAt: number;
}

/** Ends a run by the outcome that its worker reported. `output` is JSON text; `random` is for the back-off's jitter. */
export function endByOutcome(
  row: RunRow,
  outcome: Outcome,
  output: string | undefined,
  times: RunTimes,
  now: number,
  random: () => number,
): RunEnd {
  switch (outcome.state) {
    case 'released':
      return backToReady(row, { settled: true });
    case 'completed': {
      if (row.persistent === 1) return backToReady(row, { settled: true, attemptsMade: 0 });
      const made = row.attempts_made + 1;
      return {
        ...ended(row, 'completed', made, within(row, times, now), null),
        settled: true,
        output: output ?? 'null',
        files: outcome.files,
      };
    }
    case 'failed': {
      const made = row.attempts_made + 1;
      const error = errorText(outcome.error);
      const charge = { final: !outcome.retry };
      if (row.persistent === 0 && (charge.final || made >= row.attempts_allowed))
        return {
          ...ended(row, 'failed', made, within(row, times, now), error),
          settled: true,
          charge,
          output: output ?? null,
          files: outcome.files,
        };
      const wait = backoff(row, made, random);
      return backToReady(row, {
        settled: true,
        attemptsMade: made,
        runAt: wait > 0 ? now + wait : null,
        error,
        output: output ?? null,
        charge,
      });
    }
  }
}

/**
 * Ends a run whose worker went silent or came back without the job. An attempt is charged, so that a job that kills its workers is not
 * retried forever.
 */
export function endByLoss(row: RunRow, code: 'lease-expired' | 'worker-lost', now: number): RunEnd {
  const attemptsMade = row.attempts_made + 1;
  const error = errorText({ code, message: describeError(code) });
  const charge = { final: false };
  const silent = code === 'lease-expired' && { resumable: true as const, startedAt: row.started_at };
  const runsAgain = row.persistent === 1 || (attemptsMade < row.attempts_allowed && row.worker_loss === 0);
  if (runsAgain) return { ...backToReady(row, { attemptsMade, error, charge }), ...silent };
  return { ...ended(row, 'failed', attemptsMade, { startedAt: row.started_at ?? now, finishedAt: now }, error), charge };
}

/**
 * Ends a run that exceeded its time limit without being ended by its worker. Charged as if the worker had ended it; a later settlement is
 * stale.
 */
export function endByTime(row: RunRow, limitMs: number, now: number, random: () => number): RunEnd {
  const error = { code: 'timeout', message: describeError('timeout', `${limitMs} ms, and its worker did not end it`) };
  const times = { startedAt: row.started_at ?? now, finishedAt: now };
  return { ...endByOutcome(row, { state: 'failed', error, retry: true }, undefined, times, now, random), settled: false };
}

/** Ends the lease of a job that its worker never received; nothing is charged. */
export function endUnrun(row: RunRow): RunEnd {
  return backToReady(row, {});
}

export function endByCancel(row: RunRow, now: number): RunEnd {
  const error = errorText({ code: 'cancelled', message: describeError('cancelled') });
  const startedAt = row.state === 'leased' ? row.started_at : null;
  return { ...ended(row, 'cancelled', row.attempts_made, { startedAt: startedAt ?? 0, finishedAt: now }, error), startedAt };
}

/** Fails a job without a run: because of a parent, or because it is not to be tried again. */
export function failWithoutRun(row: RunRow, error: JobError, now: number): RunEnd {
  return { ...ended(row, 'failed', row.attempts_made, { startedAt: 0, finishedAt: now }, errorText(error)), startedAt: null };
}

/** Applies the end of a run to a duplicate: the same outcome, or the same charge. */
export function endAsDuplicate(row: RunRow, end: RunEnd, now: number): RunEnd {
  const attemptsMade = row.attempts_made + 1;
  const times = { startedAt: end.startedAt ?? now, finishedAt: end.finishedAt ?? now };
  if (end.state === 'completed')
    return { ...ended(row, 'completed', attemptsMade, times, null), output: end.output, files: end.files, mergedWith: end.row };
  const charge = { final: end.charge?.final ?? false };
  if (charge.final || attemptsMade >= row.attempts_allowed)
    return {
      ...ended(row, 'failed', attemptsMade, times, end.error ?? ''),
      charge,
      output: end.output,
      files: end.files,
      mergedWith: end.row,
    };
  return backToReady(row, { attemptsMade, runAt: end.runAt, error: end.error, charge });
}

/** Bounds the reported times, like the SQL in complete.ts: the duration is trusted, the worker's clock is not. */
function within(row: RunRow, times: RunTimes, now: number): RunTimes {
  const tookMs = Math.max(0, times.finishedAt - times.startedAt);
  const startedAt = Math.max(row.started_at ?? 0, Math.min(times.finishedAt, now) - tookMs);
  return { startedAt, finishedAt: Math.max(startedAt, Math.min(now, startedAt + tookMs)) };
}

/**
 * Returns the back-off in ms. It doubles with each failed run, up to an hour, plus up to 25 % jitter so that jobs that failed together do
 * not return together.
 */
function backoff(row: RunRow, failures: number, random: () => number): number {
  if (row.backoff_fixed === 1) return row.backoff_ms;
  return Math.min(MAX_BACKOFF_MS, Math.round(backoffMs(failures, { firstMs: row.backoff_ms, capMs: MAX_BACKOFF_MS }) * (1 + random() / 4)));
}

function ended(
  row: RunRow,
  state: 'completed' | 'failed' | 'cancelled',
  attemptsMade: number,
  times: RunTimes,
  error: string | null,
): RunEnd {
  const finishedAt = Math.max(times.startedAt, times.finishedAt);
  return { row, state, attemptsMade, runAt: null, settled: false, ...times, finishedAt, error, output: null };
}

function backToReady(
  row: RunRow,
  given: Partial<Pick<RunEnd, 'attemptsMade' | 'runAt' | 'settled' | 'error' | 'output' | 'charge'>>,
): RunEnd {
  return {
    row,
    // A duplicate may be waiting for its parents.
    state: row.state === 'blocked' ? 'blocked' : 'ready',
    attemptsMade: row.attempts_made,
    runAt: null,
    settled: false,
    error: null,
    output: null,
    ...given,
    startedAt: null,
    finishedAt: null,
  };
}

const TYPES = [
  'INTEGER',
  'INTEGER',
  'TEXT',
  'INTEGER',
  'INTEGER',
  'INTEGER',
  'INTEGER',
  'INTEGER',
  'INTEGER',
  'TEXT',
  'TEXT',
  'INTEGER',
  'INTEGER',
  'INTEGER',
] as const;
/** Compares the lease again: this write is the fence. */
const END = sized(
  (count) => `UPDATE job SET state = v.column3, run_at = v.column4, attempts_made = v.column5, settled_lease = v.column6,
  settled_seq = v.column7, started_at = v.column8, finished_at = v.column9, error = v.column10, output = v.column11, worker = v.column12,
  merged_with = v.column13, lease_until = v.column14, parked = NULL
  FROM (${valuesOf(TYPES, count)}) AS v WHERE job.seq = v.column1 AND job.lease = v.column2`,
);

/**
 * Writes ends, at most one per run, and numbers the final ones in the given order. The rows must have been read for update in this
 * transaction.
 */
export async function writeEnds(transaction: Transaction, ends: readonly RunEnd[], now: number): Promise<void> {
  const final = ends.reduce((count, end) => count + (isEnded(end.state) ? 1 : 0), 0);
  let settledSeq = final === 0 ? 0 : await transaction.draw('settled', final);
  for (const piece of pieces(ends)) {
    const tuples = piece.map((end): readonly Value[] => {
      const { row, state } = end;
      transaction.moved(row, row.state, state);
      if (end.runAt !== null) transaction.due(end.runAt);
      return [
        row.seq,
        row.lease,
        state,
        end.runAt,
        end.attemptsMade,
        end.settled ? row.lease : row.settled_lease,
        isEnded(state) ? settledSeq++ : null,
        end.startedAt,
        end.finishedAt,
        end.error,
        end.output,
        end.mergedWith === undefined ? row.worker : end.mergedWith.worker,
        end.mergedWith?.seq ?? null,
        end.resumable === true ? row.lease_until : null,
      ];
    });
    const list = padded(tuples);
    const changed = await transaction.run(END(list.length), list.flat());
    if (changed !== piece.length) throw new Error(`${piece.length} runs were to end, ${changed} did`);
  }
  const withFiles = ends.flatMap(({ row, files }) => (files === undefined ? [] : [{ seq: row.seq, files }]));
  if (withFiles.length > 0) await keepOutcomeFiles(transaction, withFiles, now);
}
