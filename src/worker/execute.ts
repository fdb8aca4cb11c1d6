import { type Clock, pause } from '../clock.js';
import { asPeerworkError, type ErrorCode, PeerworkError } from '../errors.js';
import { boundedProgress } from '../job/bounded-progress.js';
import type { Outcome } from '../job/job.js';
import { jobErrorOf } from '../job/job-error.js';
import type { Runner } from '../job/runner.js';
import type { FileOrigin, Lease, TaskOrigin } from '../job/source.js';
import type { CachedFiles } from '../task/file-cache.js';
import type { PreparedWorkplace } from '../task/workplace.js';

export interface ExecuteOptions {
  /** Returns the runner of this kind, waiting for one that is still opening; undefined if this Worker has none. */
  readonly runner: (kind: string) => Promise<Runner | undefined>;
  readonly clock: Clock;
  readonly prepare: (origin: TaskOrigin, signal: AbortSignal) => Promise<PreparedWorkplace>;
  readonly fetchFiles: (origin: FileOrigin, signal: AbortSignal) => Promise<CachedFiles>;
}

/** Preparation errors that are not the job's fault: the job is released unrun, and no attempt is charged. */
const RELEASE: ReadonlySet<string> = new Set<ErrorCode>([
  'link-lost',
  'link-closed',
  'link-timeout',
  'rpc-timeout',
  'rpc-cancelled',
  'rpc-overloaded',
  'asset-unknown',
  'file-unknown',
]);

/** Minimum delay before releasing a job that cannot be prepared here: it returns to the front of the queue and may come straight back. */
export const RELEASE_PAUSE_MS = 1_000;

/**
 * Takes one lease from preparation to its outcome. Never rejects. When `stop` aborts, the worker gives everything back: the caller
 * also closes the runners and workplaces then, which ends either step at once.
 */
export async function execute(options: ExecuteOptions, lease: Lease, stop: AbortSignal): Promise<Outcome> {
  const runner = await options.runner(lease.runner);
  const { signal } = lease;
  if (stop.aborted) return RELEASED;
  if (runner === undefined) return failedOutcome(new PeerworkError('runner-missing', lease.runner));
  let workplace: PreparedWorkplace | undefined;
  let files: CachedFiles | undefined;
  try {
    if (lease.task !== undefined) workplace = await options.prepare(lease.task, signal);
    if (lease.files !== undefined) files = await options.fetchFiles(lease.files, signal);
    if (signal.aborted || stop.aborted) return RELEASED;
    if (runner.queues !== true) lease.begin?.();
    return await runner.run(lease.job, {
      ...(workplace === undefined ? {} : { workplace }),
      ...(files === undefined ? {} : { files: files.paths }),
      ...(lease.tunnel === undefined ? {} : { tunnel: lease.tunnel }),
      ...(lease.exchange === undefined ? {} : { exchange: lease.exchange }),
      signal,
      ...(lease.keepFiles === undefined ? {} : { keepFiles: (made) => lease.keepFiles?.(made) ?? Promise.resolve({}) }),
      begin: () => lease.begin?.(),
      report: (progress) => {
        const bounded = boundedProgress(progress);
        if (bounded !== undefined) lease.report(bounded);
      },
    });
  } catch (thrown) {
    const error = asPeerworkError(thrown);
    const stopped = signal.aborted || stop.aborted;
    if (!stopped && !RELEASE.has(error.code)) return failedOutcome(error);
    if (!stopped) await pause(options.clock, RELEASE_PAUSE_MS, stop);
    return { state: 'released', reason: error.message };
  } finally {
    workplace?.release();
    files?.release();
  }
}

const RELEASED: Outcome = { state: 'released', reason: 'the worker stops' };

function failedOutcome(error: PeerworkError): Outcome {
  return { state: 'failed', error: jobErrorOf(error), retry: true };
}
