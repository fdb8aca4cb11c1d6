import type { Json, Outcome, Progress } from '../../../job/job.js';
import { redact } from '../../../log.js';
import { HeldLease } from '../../../sources/held-lease.js';

/** Why a run is to be stopped although its Worker goes on. */
export type StopReason = 'lost' | 'cancelled';

/** Of what the containers of a run that fails have printed, its API is told so many lines, and no more than so many characters. */
const LAST_LINES = 50;
const LAST_CHARS = 16_384;

/** A run in the hands of the Worker: as coordinator or helper of it, whoever made the lease waits for its outcome. */
export class RunLease extends HeldLease {
  /** How the Worker ended it. */
  readonly outcome: Promise<Outcome>;
  #reason: StopReason | undefined;
  #lines: string[] = [];
  #told = false;

  constructor(runId: string, data: Json, attempt: number) {
    // The runner holds the run to its own time limit.
    const job = { id: runId, channel: 'dory', data, attempt, timeoutMs: 0 };
    let end: (outcome: Outcome) => void = () => {};
    // Whoever stops it waits for its outcome too.
    super({ job, runner: 'crawl', startedAt: 0 }, async (outcome) => end(outcome));
    this.outcome = new Promise((resolve) => {
      end = resolve;
    });
  }

  /** Set once it was stopped. */
  get reason(): StopReason | undefined {
    return this.#reason;
  }

  override stop(reason: StopReason): void {
    this.#reason ??= reason;
    super.stop();
  }

  /** A container has told the API how the run ended. */
  get told(): boolean {
    return this.#told;
  }

  /** The last that its containers have printed, without secrets. */
  get lastLines(): string {
    return redact(this.#lines.slice(-LAST_LINES).join('\n')).slice(-LAST_CHARS);
  }

  /**
   * Dory has no place for what a run says while it runs: containers tell the API themselves. That they did is to be known, and the last lines
   * are for a run that fails.
   */
  override report(progress: Progress): void {
    if (progress.kind === 'log') {
      this.#lines.push(progress.line);
      if (this.#lines.length > 4 * LAST_LINES) this.#lines = this.#lines.slice(-LAST_LINES);
      return;
    }
    if (progress.kind !== 'progress' || typeof progress.value !== 'object' || progress.value === null) return;
    if (!Array.isArray(progress.value) && (progress.value as { readonly told?: unknown }).told === true) this.#told = true;
  }
}
