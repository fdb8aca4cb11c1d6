import type { Clock } from '../../clock.js';
import { bytesBelow } from '../../kit/bytes-below.js';
import { residentBytes, residentPollMs } from '../../sandbox/processes.js';
import type { TaskChild } from './child-process.js';

const SCRATCH_POLL_MS = 1_000;

/** A process that has come this close to its memory limit takes no further job, which would be charged for leftovers of others. */
const TIRED_SHARE = 0.9;

/** Measures running jobs from outside, and kills those that exceed a limit. */
export class Watch {
  readonly #limits: { readonly memoryBytes: number; readonly scratchBytes: number };
  readonly #clock: Clock;
  readonly #lastChecks = new WeakMap<TaskChild, { memoryAt: number; scratchAt: number }>();

  constructor(limits: { readonly memoryBytes: number; readonly scratchBytes: number }, clock: Clock) {
    this.#limits = limits;
    this.#clock = clock;
  }

  /** Called for each busy child at each tick; does not block. */
  check(child: TaskChild): void {
    const now = this.#clock.now();
    let lastChecks = this.#lastChecks.get(child);
    if (lastChecks === undefined) {
      lastChecks = { memoryAt: 0, scratchAt: now };
      this.#lastChecks.set(child, lastChecks);
    }
    if (now - lastChecks.memoryAt >= residentPollMs) {
      lastChecks.memoryAt = now;
      void this.#memory(child);
    }
    if (now - lastChecks.scratchAt >= SCRATCH_POLL_MS) {
      lastChecks.scratchAt = Number.POSITIVE_INFINITY;
      const last = lastChecks;
      void this.#scratch(child).finally(() => {
        last.scratchAt = this.#clock.now();
      });
    }
  }

  async #memory(child: TaskChild): Promise<void> {
    const bytes = await residentBytes(child.pid);
    if (bytes > this.#limits.memoryBytes * TIRED_SHARE) child.retire();
    if (bytes > this.#limits.memoryBytes) child.kill('memory', `${inMiB(bytes)} of ${inMiB(this.#limits.memoryBytes)} MiB`);
  }

  async #scratch(child: TaskChild): Promise<void> {
    const bytes = await bytesBelow(child.workdir, this.#limits.scratchBytes);
    if (bytes > this.#limits.scratchBytes) child.kill('scratch-too-large', `more than ${inMiB(this.#limits.scratchBytes)} MiB`);
  }
}

function inMiB(bytes: number): number {
  return Math.round(bytes / (1024 * 1024));
}
