import type { Job, Outcome, Progress } from '../job/job.js';
import type { Lease, TaskOrigin } from '../job/source.js';

export interface HeldRun {
  readonly job: Job;
  readonly runner: string;
  /** The code that does the job; absent if the runner needs none. */
  readonly task?: TaskOrigin;
  /** When it was claimed, in ms on the source's clock. */
  readonly startedAt: number;
}

/**
 * A lease held by this Worker: held → settled, or held → lost. `onSettled` receives its outcome, once; the outcome of a lost lease is
 * dropped.
 */
export class HeldLease implements Lease {
  readonly job: Job;
  readonly runner: string;
  readonly task?: TaskOrigin;
  readonly startedAt: number;
  readonly #onSettled: (outcome: Outcome, lease: HeldLease) => Promise<void>;
  readonly #ended = new AbortController();
  #settled = false;

  constructor({ job, runner, task, startedAt }: HeldRun, onSettled: (outcome: Outcome, lease: HeldLease) => Promise<void>) {
    this.job = job;
    this.runner = runner;
    if (task !== undefined) this.task = task;
    this.startedAt = startedAt;
    this.#onSettled = onSettled;
  }

  get signal(): AbortSignal {
    return this.#ended.signal;
  }

  /** Whether it was settled or lost; a later outcome is dropped. */
  get isOver(): boolean {
    return this.#settled;
  }

  /** Called when the job belongs to another worker or to none: stops the run and drops its outcome. */
  lose(): void {
    this.#settled = true;
    this.#ended.abort();
  }

  /** Stops the run; its outcome still counts. */
  stop(reason?: unknown): void {
    this.#ended.abort(reason);
  }

  /** Drops the run's reports, by default: many sources cannot carry them. */
  report(_progress: Progress): void {}

  async settle(outcome: Outcome): Promise<void> {
    if (this.#settled) return;
    this.#settled = true;
    await this.#onSettled(outcome, this);
  }
}
