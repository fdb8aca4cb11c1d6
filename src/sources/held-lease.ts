import type { Job, Outcome } from '../job/job.js';
import type { Lease, TaskOrigin } from '../job/source.js';

/**
 * A lease of a source whose jobs are done by code on this machine. How its outcome goes back is `onSettled`'s: called once, unless the lease
 * was lost before.
 */
export class HeldLease implements Lease {
  readonly job: Job;
  readonly task: TaskOrigin;
  readonly runner: string;
  readonly startedAt: number;
  readonly #onSettled: (held: HeldLease, outcome: Outcome) => Promise<void>;
  readonly #lost = new AbortController();
  #settled = false;

  constructor(
    job: Job,
    code: { readonly task: TaskOrigin; readonly runner: string },
    startedAt: number,
    onSettled: (held: HeldLease, outcome: Outcome) => Promise<void>,
  ) {
    this.job = job;
    this.task = code.task;
    this.runner = code.runner;
    this.startedAt = startedAt;
    this.#onSettled = onSettled;
  }

  get signal(): AbortSignal {
    return this.#lost.signal;
  }

  /** It is somebody else's, or nobody's: the run stops, and its outcome is nothing to anybody. */
  lose(): void {
    this.#settled = true;
    this.#lost.abort();
  }

  /** Progress and logs: for sources that have a place for them to overwrite. */
  report(): void {}

  async settle(outcome: Outcome): Promise<void> {
    if (this.#settled) return;
    this.#settled = true;
    await this.#onSettled(this, outcome);
  }
}
