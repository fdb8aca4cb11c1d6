import { setMaxListeners } from 'node:events';
import { type AnyErrorCode, describeError } from '../../errors.js';
import type { Job, Outcome, Progress } from '../../job/job.js';
import { MAX_LOG_LINE_CHARS } from '../../job/limits.js';
import type { RunContext } from '../../job/runner.js';
import type { Tunnel } from '../../job/source.js';
import { type ErrorPart, wordsOf } from '../../kit/error-parts.js';
import type { TunnelAddress } from './child/wire.js';

/** Why a run is being stopped. The first cause counts, however the process then ends. */
export type StopCause = 'timeout' | 'cancelled' | 'memory' | 'scratch-too-large' | 'closed';

const MAX_BACKS = 3;

/** One call of `run(job, context)`, wherever it waits or runs; ends exactly once. */
export class Run {
  readonly job: Job;
  /** The local address of the task's tunnel, if it is a port of this machine. */
  readonly tunnel: TunnelAddress | undefined;
  readonly ended: Promise<Outcome>;
  /** When its process was asked to begin it, in milliseconds; 0 while it waits. */
  begunAt = 0;
  cause: StopCause | undefined;
  /** The folder with files for its outcome, once it has left any. */
  outFolder: string | undefined;
  /** Details of the cause. */
  detail = '';
  readonly #context: RunContext;
  #backs = 0;
  #settle: ((outcome: Outcome) => void) | undefined;

  constructor(job: Job, context: RunContext, tunnel: TunnelAddress | undefined, onAbort: (run: Run) => void) {
    this.job = job;
    this.tunnel = tunnel;
    this.#context = context;
    const { signal } = context;
    this.ended = new Promise((resolve) => {
      const abort = () => onAbort(this);
      this.#settle = (outcome) => {
        signal.removeEventListener('abort', abort);
        resolve(outcome);
      };
      // Many jobs may listen to one signal, such as the worker's own.
      setMaxListeners(0, signal);
      signal.addEventListener('abort', abort);
    });
  }

  begin(now: number): void {
    this.begunAt = now;
    this.#context.begin?.();
  }

  /** Files of the job on this machine, by name; undefined if it has none. */
  get files(): RunContext['files'] {
    return this.#context.files;
  }

  /** The tunnel of the job. */
  get way(): Tunnel | undefined {
    return this.#context.tunnel;
  }

  get cancelled(): boolean {
    return this.#context.signal.aborted;
  }

  /** Resets a run that had not begun, whatever was to stop it, so that it waits again. */
  renew(): this {
    this.begunAt = 0;
    this.cause = undefined;
    return this;
  }

  /**
   * Counts reports of its process that it was revoked just as it began, or must not begin. Returns false if there were so many that the
   * task itself must have sent them.
   */
  comesBack(): boolean {
    this.#backs += 1;
    return this.#backs <= MAX_BACKS;
  }

  report(progress: Progress): void {
    if (this.#settle !== undefined) this.#context.report(progress);
  }

  complete(outcome: Outcome): void {
    const settle = this.#settle;
    this.#settle = undefined;
    settle?.(this.cause === undefined ? outcome : this.#stopped(this.cause));
  }

  /** `cause` is the thrown error, and then provides the message. */
  fail(code: AnyErrorCode, message: string, retry = true, holdMs?: number, cause?: ErrorPart): void {
    const thrown = cause === undefined ? message : wordsOf(cause);
    const words = cause !== undefined && code === 'crashed' ? `uncaught exception: ${thrown}` : thrown;
    const error = { code, message: words.slice(0, MAX_LOG_LINE_CHARS), ...(cause !== undefined && { cause }) };
    this.complete({ state: 'failed', error, retry, ...(holdMs !== undefined && { holdMs }) });
  }

  /** Ends the run for this cause, or for an earlier one. */
  stop(cause: StopCause, detail = ''): void {
    if (this.cause === undefined) {
      this.cause = cause;
      this.detail = detail;
    }
    this.complete(this.#stopped(this.cause));
  }

  #stopped(cause: StopCause): Outcome {
    if (cause === 'closed') return { state: 'released', reason: 'the worker stopped' };
    return { state: 'failed', error: { code: cause, message: describeError(cause, this.detail) }, retry: cause !== 'cancelled' };
  }
}
