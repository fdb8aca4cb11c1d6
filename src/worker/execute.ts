import { asPeerworkError, type ErrorCode, PeerworkError } from '../errors.js';
import type { Outcome } from '../job/job.js';
import type { Runner } from '../job/runner.js';
import type { Lease, TaskOrigin } from '../job/source.js';
import type { PreparedWorkplace } from '../task/workplace.js';

export interface ExecuteOptions {
  readonly runners: ReadonlyMap<string, Runner>;
  readonly prepare: (origin: TaskOrigin, signal: AbortSignal) => Promise<PreparedWorkplace>;
}

/** Errors of preparation that are not the job's fault: it goes back unrun and uncharged. */
const RELEASE: ReadonlySet<ErrorCode> = new Set([
  'link-lost',
  'link-closed',
  'link-timeout',
  'rpc-timeout',
  'rpc-cancelled',
  'rpc-overloaded',
  'asset-unknown',
]);

/** One lease from preparation to its outcome. Never rejects. */
export async function execute(options: ExecuteOptions, lease: Lease, stop: AbortSignal): Promise<Outcome> {
  const runner = options.runners.get(lease.runner);
  if (runner === undefined) return refused(new PeerworkError('runner-missing', lease.runner));
  const ended = new AbortController();
  const end = () => ended.abort();
  lease.signal.addEventListener('abort', end);
  stop.addEventListener('abort', end);
  if (lease.signal.aborted || stop.aborted) end();
  let workplace: PreparedWorkplace | undefined;
  try {
    if (lease.task !== undefined) workplace = await options.prepare(lease.task, ended.signal);
    if (ended.signal.aborted) return RELEASED;
    const outcome = await runner.run(lease.job, {
      ...(workplace === undefined ? {} : { workplace }),
      signal: ended.signal,
      report: (progress) => lease.report(progress),
    });
    // A job that we stopped ourselves did nothing wrong.
    return stop.aborted && outcome.state === 'failed' && outcome.error.code === 'cancelled' ? RELEASED : outcome;
  } catch (thrown) {
    const error = asPeerworkError(thrown);
    if (ended.signal.aborted || RELEASE.has(error.code)) return { state: 'released', reason: error.message };
    return refused(error);
  } finally {
    workplace?.release();
    lease.signal.removeEventListener('abort', end);
    stop.removeEventListener('abort', end);
  }
}

const RELEASED: Outcome = { state: 'released', reason: 'the worker stops' };

function refused(error: PeerworkError): Outcome {
  return { state: 'failed', error: { code: error.code, message: error.message }, retry: true };
}
