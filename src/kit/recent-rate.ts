/** The rate is measured over windows of this length. */
const WINDOW_MS = 100;

/** How often something happened of late. Within a window the rate may only grow, so that a burst is not held back by the quiet before it. */
export class RecentRate {
  #windowAt: number;
  #count = 0;
  #perMs = 0;

  constructor(now: number) {
    this.#windowAt = now;
  }

  add(count: number, now: number): void {
    this.#roll(now);
    this.#count += count;
  }

  perMs(now: number): number {
    this.#roll(now);
    return this.#perMs;
  }

  #roll(now: number): void {
    const elapsedMs = now - this.#windowAt;
    // Less than nothing: the clock was set back.
    if (elapsedMs >= 0 && elapsedMs < WINDOW_MS) {
      this.#perMs = Math.max(this.#perMs, this.#count / WINDOW_MS);
      return;
    }
    this.#perMs = this.#count / Math.max(WINDOW_MS, elapsedMs);
    this.#count = 0;
    this.#windowAt = now;
  }
}
