import type { Json, Outcome, Progress } from '../../../job/job.js';
import { redact } from '../../../log.js';
import { HeldLease } from '../../../sources/held-lease.js';

/** Why a run is stopped although its Worker continues. */
export type StopReason = 'lost' | 'cancelled';

/** Limits for the container output that is reported to the API with a failed run, in lines and characters. */
const LAST_LINES = 50;
const LAST_CHARS = 16_384;

/** Lease of a run. Its creator, coordinator or helper, waits for the outcome. */
export class RunLease extends HeldLease {
  /** How the run ended at the Worker. */
  readonly outcome: Promise<Outcome>;
  #reason: StopReason | undefined;
  #lines: string[] = [];
  #wasReported = false;

  constructor(runId: string, data: Json, attempt: number) {
    // The runner enforces the run's own time limit.
    const job = { id: runId, channel: 'dory', data, attempt, timeoutMs: 0 };
    let resolveOutcome: (outcome: Outcome) => void = () => {};
    // The code that stops the run also waits for its outcome.
    super({ job, runner: 'crawl', startedAt: 0 }, async (outcome) => resolveOutcome(outcome));
    this.outcome = new Promise((resolve) => {
      resolveOutcome = resolve;
    });
  }

  /** Set once the run was stopped. */
  get reason(): StopReason | undefined {
    return this.#reason;
  }

  override stop(reason: StopReason): void {
    this.#reason ??= reason;
    super.stop();
  }

  /** Whether a container has reported the end of the run to the API. */
  get wasReported(): boolean {
    return this.#wasReported;
  }

  /** Last output of the containers, with secrets redacted. */
  get lastLines(): string {
    return redact(this.#lines.slice(-LAST_LINES).join('\n')).slice(-LAST_CHARS);
  }

  /**
   * dory-api has no call for the progress of a run: containers report to it themselves. Only whether they reported the end is recorded
   * here, and the last lines in case the run fails.
   */
  override report(progress: Progress): void {
    if (progress.kind === 'log') {
      this.#lines.push(progress.line);
      if (this.#lines.length > 4 * LAST_LINES) this.#lines = this.#lines.slice(-LAST_LINES);
      return;
    }
    if (progress.kind !== 'progress' || typeof progress.value !== 'object' || progress.value === null) return;
    if (!Array.isArray(progress.value) && (progress.value as { readonly told?: unknown }).told === true) this.#wasReported = true;
  }
}
