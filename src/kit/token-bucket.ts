/** Capacity and refill rate of a bucket. */
export interface TokenRate {
  /** Tokens in a full bucket. */
  readonly burst: number;
  readonly perSecond: number;
}

/** A rate limit that allows bursts: the bucket starts full, refills evenly and is drained by `take`. */
export class TokenBucket {
  readonly #rate: TokenRate;
  #tokens: number;
  #filledAt: number;

  constructor(rate: TokenRate, now: number) {
    this.#rate = rate;
    this.#tokens = rate.burst;
    this.#filledAt = now;
  }

  /**
   * Returns false, and takes nothing, if there are too few tokens. A request larger than the burst is granted to a full bucket, on
   * credit.
   */
  take(count: number, now: number): boolean {
    const { burst, perSecond } = this.#rate;
    this.#tokens = Math.min(burst, this.#tokens + (Math.max(0, now - this.#filledAt) * perSecond) / 1_000);
    this.#filledAt = now;
    if (this.#tokens < Math.min(count, burst)) return false;
    this.#tokens -= count;
    return true;
  }
}
