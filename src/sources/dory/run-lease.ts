import type { Job, Json, Outcome } from '../../job/job.js';
import type { Lease } from '../../job/source.js';

/** Why a run is to be stopped although its Worker goes on. */
export type StopReason = 'lost' | 'cancelled';

/** A run in the hands of the Worker: as coordinator or helper of it, whoever made the lease waits for its outcome. */
export class RunLease implements Lease {
  readonly job: Job;
  readonly runner = 'crawl';
  /** How the Worker ended it. */
  readonly outcome: Promise<Outcome>;
  readonly #stop = new AbortController();
  #resolve: (outcome: Outcome) => void = () => {};
  #reason: StopReason | undefined;

  constructor(runId: string, data: Json, attempt: number) {
    // The runner holds the run to its own time limit.
    this.job = { id: runId, channel: 'dory', data, attempt, timeoutMs: 0 };
    this.outcome = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  /** Set once it was stopped. */
  get reason(): StopReason | undefined {
    return this.#reason;
  }

  stop(reason: StopReason): void {
    this.#reason ??= reason;
    this.#stop.abort();
  }

  /** Dory has no place for what a run says while it runs: containers tell the API themselves. */
  report(): void {}

  async settle(outcome: Outcome): Promise<void> {
    this.#resolve(outcome);
  }
}
