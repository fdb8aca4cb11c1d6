import type { Job, Outcome } from '../../job/job.js';
import type { Lease, TaskOrigin } from '../../job/source.js';

/** A task that runs here, asked for or sent; how its outcome goes back is `onSettled`'s. */
export class HeldTask implements Lease {
  readonly job: Job;
  readonly task: TaskOrigin;
  readonly runner: string;
  readonly startedAt: number;
  readonly #onSettled: (held: HeldTask, outcome: Outcome) => Promise<void>;
  readonly #lost = new AbortController();
  #settled = false;

  constructor(
    job: Job,
    code: { readonly task: TaskOrigin; readonly runner: string },
    startedAt: number,
    onSettled: (held: HeldTask, outcome: Outcome) => Promise<void>,
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

  /** crew has no place for what a running task says. */
  report(): void {}

  async settle(outcome: Outcome): Promise<void> {
    if (this.#settled) return;
    this.#settled = true;
    await this.#onSettled(this, outcome);
  }
}
