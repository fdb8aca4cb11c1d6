import type { Job } from 'bullmq';
import type { Clock, Timer } from '../../../clock.js';
import type { Log } from '../../../log.js';
import type { DoryTiming } from './timing.js';

export interface HeldJobOptions {
  readonly job: Job;
  /** Token that proves ownership of the lock. */
  readonly token: string;
  readonly timing: Pick<DoryTiming, 'lockMs' | 'extendMs'>;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * A BullMQ job whose lock this Worker holds. The lock is extended until the job is settled. It counts as lost when Redis reports that it is
 * gone or another Worker's, and also when it could not be extended for its whole duration, because another Worker may have the job by then.
 */
export class HeldJob {
  readonly id: string;
  readonly token: string;
  readonly data: unknown;
  /** 1 for the first attempt. */
  readonly attempt: number;
  /** Why the job must fail without a run, if so: it has crashed its Workers too often. */
  readonly doomed: string | undefined;
  /** Whether BullMQ would retry the job if it failed. */
  readonly retries: boolean;
  /**
   * Called when the job is settled or given back, but not when it was lost, because then another Worker is responsible. Must not reject.
   */
  onEnd: (() => Promise<void>) | undefined;
  readonly #options: HeldJobOptions;
  readonly #lost = new AbortController();
  #extending: Timer | undefined;
  #expiring: Timer | undefined;
  /** False once the job is settled: a settled job has no lock, so the result of an extension in flight means nothing. */
  #isExtending = true;

  constructor(options: HeldJobOptions) {
    const { job, token } = options;
    this.#options = options;
    this.id = job.id ?? '';
    this.token = token;
    this.data = job.data;
    this.attempt = job.attemptsMade + 1;
    this.doomed = job.deferredFailure || undefined;
    this.retries = this.attempt < (job.opts.attempts ?? 1);
    this.#renewed();
  }

  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  complete(value: object): Promise<boolean> {
    return this.#end('completed', ({ job, token }) => job.moveToCompleted(value, token, false));
  }

  /** Fails the job; BullMQ retries it if it has attempts left. */
  fail(message: string): Promise<boolean> {
    return this.#end('failed', ({ job, token }) => job.moveToFailed(new Error(message), token, false));
  }

  /** Returns the job to the front of the queue as if it had never been taken. */
  giveBack(): Promise<boolean> {
    return this.#end('given back', ({ job, token }) => job.moveToWait(token));
  }

  /** Stops extending the lock; the check for stalled jobs finds the job when the lock expires. */
  abandon(): void {
    this.#endExtending();
    this.#expiring?.cancel();
  }

  /** Settles the job. Resolves with false if that failed because the lock is lost. Never rejects. */
  async #end(how: string, move: (options: HeldJobOptions) => Promise<unknown>): Promise<boolean> {
    const { log } = this.#options;
    this.#endExtending();
    // While Redis is unreachable the move waits, and the lock may expire meanwhile.
    const lost = new Promise<false>((resolve) => {
      if (this.#lost.signal.aborted) resolve(false);
      this.#lost.signal.addEventListener('abort', () => resolve(false), { once: true });
    });
    try {
      if (this.#lost.signal.aborted) return false;
      const moved = await Promise.race([move(this.#options).then(() => true), lost]);
      if (moved) await this.onEnd?.();
      return moved;
    } catch (error) {
      log.warn(`a job could not be ${how} in the queue`, {
        job: this.id,
        error,
        hint: 'Check the run queue’s Redis. The lock expires by itself, and the queue gives the job out again.',
      });
      return false;
    } finally {
      this.abandon();
    }
  }

  #endExtending(): void {
    this.#isExtending = false;
    this.#extending?.cancel();
  }

  /** Restarts the expiry timer and schedules the next extension. */
  #renewed(): void {
    const { clock, timing } = this.#options;
    this.#expiring?.cancel();
    this.#expiring = clock.after(timing.lockMs, () => this.#lose('it could not be extended in time'), { unref: true });
    this.#extendAfter(timing.extendMs);
  }

  #extendAfter(delayMs: number): void {
    this.#extending = this.#options.clock.after(delayMs, () => void this.#extend(), { unref: true });
  }

  async #extend(): Promise<void> {
    const { job, token, timing, log } = this.#options;
    try {
      const extended = await job.extendLock(token, timing.lockMs);
      if (!this.#isExtending) return;
      if (extended === 1) this.#renewed();
      else this.#lose('another Worker has it, or it is gone');
    } catch (error) {
      log.debug('the lock of a job could not be extended', { job: this.id, error });
      if (this.#isExtending) this.#extendAfter(timing.extendMs / 10);
    }
  }

  #lose(why: string): void {
    this.#options.log.warn(`the lock of a job is lost: ${why}`, {
      job: this.id,
      hint: 'No action needed; another Worker has the job. If it is frequent, check the run queue’s Redis and the load of this machine.',
    });
    this.abandon();
    this.#lost.abort();
  }
}
