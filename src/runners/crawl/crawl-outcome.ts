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
  readonly said: string;
}

/** How the containers of a crawl ended, and what there is of it. */
export interface CrawlEnd {
  readonly cause: StopCause | undefined;
  readonly ended: readonly EndedContainer[];
  /** As the messages of a timeout and of a full disk name them. */
  readonly timeLimit: string;
  readonly diskLimit: string;
  /** Of one container, in MiB. */
  readonly memoryMb: number;
  /** With no reason yet; its results are absent if they went elsewhere. */
  readonly output: CrawlOutput;
  /** The crawl knows as many pages as it may, and there were links to more. */
  readonly full: boolean;
}

/**
 * A limit that was met completes the crawl with what it has; what else stops it fails it, and what it has goes along. Results that went elsewhere are nobody's
 * to give.
 */
export function outcomeOf(end: CrawlEnd): Outcome {
  const { cause, ended, output, full } = end;
  if (cause === 'closed') return { state: 'released', reason: 'the worker stopped' };
  const worst = ended.reduce((a, b) => (b.exitCode > a.exitCode ? b : a), ended[0] as EndedContainer);
  const limit = cause === 'results' || cause === 'disk' ? cause : undefined;
  if (cause === 'cancelled') return failed({ code: 'cancelled', message: describeError('cancelled') }, false, output, worst);
  if (worst.exitCode !== 0 && limit === undefined) return failed(errorOf(end, worst), true, output, worst);
  // With pages that were read the crawl is of use; of what went elsewhere nobody here knows whether it is whole.
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

function errorOf({ cause, timeLimit, memoryMb }: CrawlEnd, { id, exitCode, outOfMemory, said }: EndedContainer): JobError {
  if (cause === 'timeout') return { code: 'timeout', message: describeError('timeout', timeLimit), exitCode };
  if (outOfMemory) return { code: 'memory', message: describeError('memory', `${memoryMb} MiB in container ${id}`), exitCode };
  const last = said === '' ? '' : `; its last words: ${said}`;
  const message = describeError('crawl-failed', `exit code ${exitCode} of ${id}${last}`).slice(0, MAX_LOG_LINE_CHARS);
  return { code: 'crawl-failed', message, exitCode };
}

function failed(error: JobError, retry: boolean, output: CrawlOutput, { exitCode }: EndedContainer): Outcome {
  const had = output.results !== undefined && { output: jsonOf({ ...output, exitCode, partial: true, reason: error.code }) };
  return { state: 'failed', error, retry, ...had };
}

function jsonOf(output: CrawlOutput): Json {
  return output as unknown as Json;
}
