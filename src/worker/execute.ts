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
  /** Waits for one that is still opening; undefined if there is none of that kind. */
  readonly runner: (kind: string) => Promise<Runner | undefined>;
  readonly clock: Clock;
  readonly prepare: (origin: TaskOrigin, signal: AbortSignal) => Promise<PreparedWorkplace>;
  readonly fetchFiles: (origin: FileOrigin, signal: AbortSignal) => Promise<CachedFiles>;
}

/** Errors of preparation that are not the job's fault: the job is released unrun and uncharged. */
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

/** A job that cannot be prepared here returns to the front of the queue and may come straight back. This is the minimum delay. */
export const RELEASE_PAUSE_MS = 1_000;

/**
 * Takes one lease from preparation to its outcome. Never rejects. `stop` means that the worker gives everything back. Its owner also closes the
 * runners and the workplaces, which ends both steps at once.
 */
export async function execute(options: ExecuteOptions, lease: Lease, stop: AbortSignal): Promise<Outcome> {
  const runner = await options.runner(lease.runner);
  const { signal } = lease;
  if (stop.aborted) return RELEASED;
  if (runner === undefined) return refused(new PeerworkError('runner-missing', lease.runner));
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
      begin: () => lease.begin?.(),
      report: (progress) => {
        const bounded = boundedProgress(progress);
        if (bounded !== undefined) lease.report(bounded);
      },
    });
  } catch (thrown) {
    const error = asPeerworkError(thrown);
    const stopped = signal.aborted || stop.aborted;
    if (!stopped && !RELEASE.has(error.code)) return refused(error);
    if (!stopped) await pause(options.clock, RELEASE_PAUSE_MS, stop);
    return { state: 'released', reason: error.message };
  } finally {
    workplace?.release();
    files?.release();
  }
}

const RELEASED: Outcome = { state: 'released', reason: 'the worker stops' };

function refused(error: PeerworkError): Outcome {
  return { state: 'failed', error: jobErrorOf(error), retry: true };
}
