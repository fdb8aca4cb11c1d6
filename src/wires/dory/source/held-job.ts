import type { Job } from 'bullmq';
import type { Clock, Timer } from '../../../clock.js';
import type { Log } from '../../../log.js';
import type { DoryTiming } from './timing.js';

export interface HeldJobOptions {
  readonly job: Job;
  /** Of the lock: says that it is ours. */
  readonly token: string;
  readonly timing: Pick<DoryTiming, 'lockMs' | 'extendMs'>;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * A BullMQ job whose lock is ours. The lock is extended until the job is settled. It is lost when Redis says that it belongs to somebody
 * else or is gone, and also when it could not be extended for as long as it lasts: then another Worker may have the job by now.
 */
export class HeldJob {
  readonly id: string;
  readonly token: string;
  readonly data: unknown;
  /** 1 for the first. */
  readonly attempt: number;
  /** Why it is to be failed unrun, if so: it has ended its Worker too often. */
  readonly doomed: string | undefined;
  /** Whether BullMQ would try it again if it failed. */
  readonly retries: boolean;
  /** Called once the job is settled or given back, and not if it was lost: then it is another Worker's to say. Must not reject. */
  onEnd: (() => Promise<void>) | undefined;
  readonly #options: HeldJobOptions;
  readonly #lost = new AbortController();
  #extending: Timer | undefined;
  #expiring: Timer | undefined;
  /** False from the moment the job is settled: a settled job has no lock, so that an extension which is still under way tells nothing. */
  #extended = true;

  constructor(options: HeldJobOptions) {
    const { job, token } = options;
    this.#options = options;
    this.id = job.id ?? '';
    this.token = token;
    this.data = job.data;
    this.attempt = job.attemptsMade + 1;
    this.doomed = job.deferredFailure || undefined;
    this.retries = this.attempt < (job.opts.attempts ?? 1);
    this.#live();
  }

  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  complete(value: object): Promise<boolean> {
    return this.#end('completed', ({ job, token }) => job.moveToCompleted(value, token, false));
  }

  /** BullMQ tries it again if the job has attempts left. */
  fail(message: string): Promise<boolean> {
    return this.#end('failed', ({ job, token }) => job.moveToFailed(new Error(message), token, false));
  }

  /** To the front of the queue, as if it had never been taken. */
  giveBack(): Promise<boolean> {
    return this.#end('given back', ({ job, token }) => job.moveToWait(token));
  }

  /** Stops extending the lock: whoever looks for stalled jobs finds it when the lock runs out. */
  abandon(): void {
    this.#endExtending();
    this.#expiring?.cancel();
  }

  /** False if that did not come about, because the lock is lost. Never rejects. */
  async #end(how: string, move: (options: HeldJobOptions) => Promise<unknown>): Promise<boolean> {
    const { log } = this.#options;
    this.#endExtending();
    // While Redis is away the move waits; the lock may run out in that time.
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
    this.#extended = false;
    this.#extending?.cancel();
  }

  /** From one extension to the next. */
  #live(): void {
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
      if (!this.#extended) return;
      if (extended === 1) this.#live();
      else this.#lose('another Worker has it, or it is gone');
    } catch (error) {
      log.debug('the lock of a job could not be extended', { job: this.id, error });
      if (this.#extended) this.#extendAfter(timing.extendMs / 10);
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
