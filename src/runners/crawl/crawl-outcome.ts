import { describeError } from '../../errors.js';
import type { CrawlLimit, CrawlOutput } from '../../job/crawl.js';
import type { JobError, Json, Outcome } from '../../job/job.js';
import { MAX_LOG_LINE_CHARS } from '../../job/limits.js';

/** Why containers are being stopped; the first cause counts. */
export type StopCause = 'cancelled' | 'closed' | 'timeout' | Exclude<CrawlLimit, 'pages'>;

export interface EndedContainer {
  readonly id: string;
  readonly exitCode: number;
  readonly outOfMemory: boolean;
  readonly handled: number;
  readonly lastLine: string;
}

/** How the containers of a crawl ended, and its results so far. */
export interface CrawlEnd {
  readonly cause: StopCause | undefined;
  readonly ended: readonly EndedContainer[];
  /** As quoted in the error messages of a timeout and of a full disk. */
  readonly timeLimit: string;
  readonly diskLimit: string;
  /** Memory of one container, in MiB. */
  readonly memoryMb: number;
  /** Without a reason yet; results are absent if they were delivered elsewhere. */
  readonly output: CrawlOutput;
  /** The crawl has reached its limit of pages, and there were links to more. */
  readonly full: boolean;
}

/**
 * Builds the outcome. A limit that was reached completes the crawl with its partial results; any other reason to stop fails it, and the
 * partial results are attached. Results that were delivered elsewhere are not part of an outcome.
 */
export function outcomeOf(end: CrawlEnd): Outcome {
  const { cause, ended, output, full } = end;
  if (cause === 'closed') return { state: 'released', reason: 'the worker stopped' };
  const worst = ended.reduce((a, b) => (b.exitCode > a.exitCode ? b : a), ended[0] as EndedContainer);
  const limit = cause === 'results' || cause === 'disk' ? cause : undefined;
  if (cause === 'cancelled') return failed({ code: 'cancelled', message: describeError('cancelled') }, false, output, worst);
  if (worst.exitCode !== 0 && limit === undefined) return failed(errorOf(end, worst), true, output, worst);
  // Pages that were read make the crawl useful; whether results delivered elsewhere are complete is unknown here.
  if (limit === 'disk' && (output.results === undefined || output.results.length === output.failed))
    return failed(
      { code: 'scratch-too-large', message: describeError('scratch-too-large', end.diskLimit), exitCode: worst.exitCode },
      false,
      output,
      worst,
    );
  const stopped = limit !== undefined && worst.exitCode !== 0 ? limit : undefined;
  const reason = stopped ?? (output.leftOut !== undefined ? 'results' : full ? 'pages' : undefined);
  return { state: 'completed', output: jsonOf({ ...output, ...(reason !== undefined && { partial: true, reason }) }) };
}

function errorOf({ cause, timeLimit, memoryMb }: CrawlEnd, { id, exitCode, outOfMemory, lastLine }: EndedContainer): JobError {
  if (cause === 'timeout') return { code: 'timeout', message: describeError('timeout', timeLimit), exitCode };
  if (outOfMemory) return { code: 'memory', message: describeError('memory', `${memoryMb} MiB in container ${id}`), exitCode };
  const last = lastLine === '' ? '' : `; its last words: ${lastLine}`;
  const message = describeError('crawl-failed', `exit code ${exitCode} of ${id}${last}`).slice(0, MAX_LOG_LINE_CHARS);
  return { code: 'crawl-failed', message, exitCode };
}

function failed(error: JobError, retry: boolean, output: CrawlOutput, { exitCode }: EndedContainer): Outcome {
  const partial = output.results !== undefined && { output: jsonOf({ ...output, exitCode, partial: true, reason: error.code }) };
  return { state: 'failed', error, retry, ...partial };
}

function jsonOf(output: CrawlOutput): Json {
  return output as unknown as Json;
}
