import { describeError } from '../errors.js';
import type { Outcome } from '../job/job.js';
import { MAX_BACKOFF_MS } from '../job/limits.js';
import type { Value } from './driver.js';
import { errorText, type RunRow } from './job-row.js';
import type { JobState } from './ledger.js';
import { padded, pieces, sized, valuesOf } from './lists.js';
import type { Transaction } from './transaction.js';

/**
 * The end of a run, or of a job that will not run. A leased job becomes
 *   completed                           by an outcome with output (see complete.ts),
 *   failed                              by an error when it is final or no attempt is left,
 *   ready, not before a back-off        by an error otherwise (an attempt is charged),
 *   ready, at its old place             when released or never received (nothing is charged) or when its worker was lost (an attempt is charged),
 *   cancelled                           by its owner, from `ready` and `blocked` as well.
 */
export interface RunEnd {
  readonly row: RunRow;
  readonly state: JobState;
  readonly attemptsMade: number;
  readonly runAt: number | null;
  /** true: the worker said so, and saying it again is a duplicate. */
  readonly settled: boolean;
  readonly startedAt: number | null;
  readonly finishedAt: number | null;
  readonly error: string | null;
}

/** When a run was under way. */
export interface RunTimes {
  readonly startedAt: number;
  readonly finishedAt: number;
}

export function endByOutcome(
  row: RunRow,
  outcome: Exclude<Outcome, { state: 'completed' }>,
  times: RunTimes,
  now: number,
  random: () => number,
): RunEnd {
  switch (outcome.state) {
    case 'released':
      return givenBack(row, row.attempts_made, null, true, null);
    case 'failed': {
      const made = row.attempts_made + 1;
      const error = errorText(outcome.error);
      if (!outcome.retry || made >= row.attempts_allowed) return ended(row, 'failed', made, within(row, times, now), true, error);
      const wait = backoff(row.backoff_ms, made, random);
      return givenBack(row, made, wait > 0 ? now + wait : null, true, error);
    }
  }
}

/** The worker was not heard of, or came back without the job: charged, so that a job that kills its workers comes to an end. */
export function endByLoss(row: RunRow, code: 'lease-expired' | 'worker-lost', now: number): RunEnd {
  const made = row.attempts_made + 1;
  const error = errorText({ code, message: describeError(code) });
  if (made < row.attempts_allowed) return givenBack(row, made, null, false, error);
  return ended(row, 'failed', made, { startedAt: row.started_at ?? now, finishedAt: now }, false, error);
}

/** The worker never received the job. */
export function endUnrun(row: RunRow): RunEnd {
  return givenBack(row, row.attempts_made, null, false, null);
}

export function endByCancel(row: RunRow, now: number): RunEnd {
  const error = errorText({ code: 'cancelled', message: describeError('cancelled') });
  const startedAt = row.state === 'leased' ? row.started_at : null;
  return { ...ended(row, 'cancelled', row.attempts_made, { startedAt: 0, finishedAt: now }, false, error), startedAt };
}

/** The same in TypeScript as complete.ts says it in SQL: the duration is believed, the clock is not. */
function within(row: RunRow, times: RunTimes, now: number): RunTimes {
  const tookMs = Math.max(0, times.finishedAt - times.startedAt);
  const startedAt = Math.max(row.started_at ?? 0, Math.min(times.finishedAt, now) - tookMs);
  return { startedAt, finishedAt: Math.min(now, startedAt + tookMs) };
}

/** Doubles with each failed run, up to an hour; up to a quarter more, so that jobs that failed together do not return together. */
function backoff(firstMs: number, failures: number, random: () => number): number {
  return Math.min(MAX_BACKOFF_MS, Math.round(firstMs * 2 ** Math.min(failures - 1, 40) * (1 + random() / 4)));
}

function ended(row: RunRow, state: 'failed' | 'cancelled', attemptsMade: number, times: RunTimes, settled: boolean, error: string): RunEnd {
  return { row, state, attemptsMade, runAt: null, settled, ...times, error };
}

function givenBack(row: RunRow, attemptsMade: number, runAt: number | null, settled: boolean, error: string | null): RunEnd {
  return { row, state: 'ready', attemptsMade, runAt, settled, startedAt: null, finishedAt: null, error };
}

const TYPES = ['INTEGER', 'INTEGER', 'TEXT', 'INTEGER', 'INTEGER', 'INTEGER', 'INTEGER', 'INTEGER', 'INTEGER', 'TEXT'] as const;
/** The lease is compared again: the write is the fence. */
const END = sized(
  (count) => `UPDATE job SET state = v.column3, run_at = v.column4, attempts_made = v.column5, settled_lease = v.column6,
  settled_seq = v.column7, started_at = v.column8, finished_at = v.column9, error = v.column10, lease_until = NULL
  FROM (${valuesOf(TYPES, count)}) AS v WHERE job.seq = v.column1 AND job.lease = v.column2`,
);

/** Writes ends, of one run each, and numbers those that are final in the order given. The rows were read in this transaction, for update. */
export async function writeEnds(transaction: Transaction, ends: readonly RunEnd[]): Promise<void> {
  const final = ends.reduce((count, end) => count + (end.state === 'ready' ? 0 : 1), 0);
  let settledSeq = final === 0 ? 0 : await transaction.draw('settled', final);
  for (const piece of pieces(ends)) {
    const tuples = piece.map((end): readonly Value[] => {
      const { row, state } = end;
      transaction.moved(row.channel, row.state, state);
      return [
        row.seq,
        row.lease,
        state,
        end.runAt,
        end.attemptsMade,
        end.settled ? row.lease : row.settled_lease,
        state === 'ready' ? null : settledSeq++,
        end.startedAt,
        end.finishedAt,
        end.error,
      ];
    });
    const list = padded(tuples);
    const changed = await transaction.run(END(list.length), list.flat());
    if (changed !== piece.length) throw new Error(`${piece.length} runs were to end, ${changed} did`);
  }
}
