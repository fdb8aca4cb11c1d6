/** Waiting times that double from `firstMs` to `capMs`, each ±25 % so that many peers do not come back in step. */
export class Backoff {
  readonly #firstMs: number;
  readonly #capMs: number;
  readonly #random: () => number;
  #baseMs: number;

  /** `random` gives numbers in [0, 1). */
  constructor(firstMs: number, capMs: number, random: () => number) {
    this.#firstMs = firstMs;
    this.#capMs = capMs;
    this.#random = random;
    this.#baseMs = firstMs;
  }

  nextMs(): number {
    const baseMs = this.#baseMs;
    this.#baseMs = Math.min(baseMs * 2, this.#capMs);
    return Math.round(baseMs * (0.75 + this.#random() / 2));
  }

  reset(): void {
    this.#baseMs = this.#firstMs;
  }
}

/** Lets `burst` through at once and `perSecond` in the long run. */
export class RateLimit {
  readonly #burst: number;
  readonly #perSecond: number;
  readonly #now: () => number;
  #tokens: number;
  #at: number;

  constructor(burst: number, perSecond: number, now: () => number) {
    this.#burst = burst;
    this.#perSecond = perSecond;
    this.#now = now;
    this.#tokens = burst;
    this.#at = now();
  }

  take(): boolean {
    const at = this.#now();
    this.#tokens = Math.min(this.#burst, this.#tokens + (Math.max(0, at - this.#at) / 1000) * this.#perSecond);
    this.#at = at;
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }
}
