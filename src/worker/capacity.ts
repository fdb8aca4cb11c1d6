import { RecentRate } from '../kit/recent-rate.js';

/**
 * How many jobs to hold at once: as many as may run, plus as many more as are done in PREFETCH_MS at the present rate. Long jobs are
 * thus never hoarded (at less than 20 a second nothing is fetched ahead), while thousands of quick ones hide the round trip.
 */
const PREFETCH_MS = 50;
const MAX_PREFETCH = 500;

export class Capacity {
  readonly #concurrency: number;
  readonly #now: () => number;
  readonly #ended: RecentRate;

  constructor(concurrency: number, now: () => number) {
    this.#concurrency = concurrency;
    this.#now = now;
    this.#ended = new RecentRate(now());
  }

  /** A job has ended. */
  count(): void {
    this.#ended.add(1, this.#now());
  }

  /** How many jobs this worker wants to hold now. */
  get target(): number {
    return this.#concurrency + Math.min(MAX_PREFETCH, Math.floor(this.#ended.perMs(this.#now()) * PREFETCH_MS));
  }
}
