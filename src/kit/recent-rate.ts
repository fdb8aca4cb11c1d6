/** Length of the measuring window. */
const WINDOW_MS = 100;

/** The recent rate of events. Within a window it can only grow, so that a burst is not underestimated because of the quiet before it. */
export class RecentRate {
  #windowAt: number;
  #count = 0;
  #perMs = 0;

  constructor(now: number) {
    this.#windowAt = now;
  }

  /** Counts events. */
  add(count: number, now: number): void {
    this.#roll(now);
    this.#count += count;
  }

  /** Returns the rate in events per millisecond. */
  perMs(now: number): number {
    this.#roll(now);
    return this.#perMs;
  }

  #roll(now: number): void {
    const elapsedMs = now - this.#windowAt;
    // A negative duration means that the clock was set back.
    if (elapsedMs >= 0 && elapsedMs < WINDOW_MS) {
      this.#perMs = Math.max(this.#perMs, this.#count / WINDOW_MS);
      return;
    }
    this.#perMs = this.#count / Math.max(WINDOW_MS, elapsedMs);
    this.#count = 0;
    this.#windowAt = now;
  }
}
