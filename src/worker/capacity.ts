/**
 * How many jobs to hold at once: as many as may run, plus as many more as are done in PREFETCH_MS at the present rate. Long jobs are
 * thus never hoarded (at less than 20 a second nothing is fetched ahead), while thousands of quick ones hide the round trip.
 */
const PREFETCH_MS = 50;
const MAX_PREFETCH = 500;
/** The rate is measured over windows of this length. */
const WINDOW_MS = 100;

export class Capacity {
  readonly #concurrency: number;
  readonly #now: () => number;
  #windowAt: number;
  #ended = 0;
  #perMs = 0;

  constructor(concurrency: number, now: () => number) {
    this.#concurrency = concurrency;
    this.#now = now;
    this.#windowAt = now();
  }

  /** A job has ended. */
  count(): void {
    this.#roll();
    this.#ended += 1;
  }

  /** How many jobs this worker wants to hold now. */
  get target(): number {
    this.#roll();
    return this.#concurrency + Math.min(MAX_PREFETCH, Math.floor(this.#perMs * PREFETCH_MS));
  }

  #roll(): void {
    const elapsedMs = this.#now() - this.#windowAt;
    if (elapsedMs < WINDOW_MS) {
      // Within a window the rate may only grow, so that a burst is not held back by the quiet before it.
      this.#perMs = Math.max(this.#perMs, this.#ended / WINDOW_MS);
      return;
    }
    this.#perMs = this.#ended / elapsedMs;
    this.#ended = 0;
    this.#windowAt = this.#now();
  }
}
