import { PeerworkError } from '../errors.js';
import { MAX_PREFETCH_JOBS, PREFETCH_JOBS, PREFETCH_MS } from '../job/limits.js';
import { RecentRate } from '../kit/recent-rate.js';
import { TokenBucket, type TokenRate } from '../kit/token-bucket.js';

/**
 * Rate limits per worker. Measured: a Worker that does 4,000 jobs a second makes some 1,000 calls a second; a beat names its leases
 * once every ten seconds; a task writes 100 lines a second after its first 500.
 */
export const workerRates = {
  /** Calls, notifications and streams. */
  calls: { burst: 8_000, perSecond: 4_000 },
  /** Leases named for renewal. */
  leases: { burst: 20_000, perSecond: 10_000 },
  /** Log lines and progress of its jobs. */
  reports: { burst: 40_000, perSecond: 10_000 },
  /** Jobs created by its runs. */
  children: { burst: 20_000, perSecond: 2_000 },
} as const satisfies Record<string, TokenRate>;
export type RatedKind = keyof typeof workerRates;

/** Workers whose state is kept; the least recently active are evicted first. */
const MAX_WORKERS = 10_000;

interface Account {
  readonly buckets: Map<RatedKind, TokenBucket>;
  readonly settled: RecentRate;
}

/** Tracks each worker's recent requests and speed, by its identity, whatever its links or names. */
export class WorkerRates {
  readonly #accounts = new Map<string, Account>();

  /** Takes from the budget. Throws `rpc-overloaded` if it is exhausted. */
  take(workerId: string, kind: RatedKind, count: number, now: number): void {
    if (!this.has(workerId, kind, count, now)) throw new PeerworkError('rpc-overloaded', `too many ${kind}`);
  }

  /** Takes from the budget, and returns whether there was enough. */
  has(workerId: string, kind: RatedKind, count: number, now: number): boolean {
    const { buckets } = this.#account(workerId, now);
    let bucket = buckets.get(kind);
    if (bucket === undefined) {
      bucket = new TokenBucket(workerRates[kind], now);
      buckets.set(kind, bucket);
    }
    return bucket.take(count, now);
  }

  /** Counts settled jobs, from which `prefetch` derives the worker's speed. */
  settled(workerId: string, count: number, now: number): void {
    this.#account(workerId, now).settled.add(count, now);
  }

  /** Returns how many jobs it may hold beyond those that it runs: a few, plus as many as it will finish before more can arrive. */
  prefetch(workerId: string, now: number): number {
    const { settled } = this.#account(workerId, now);
    return PREFETCH_JOBS + Math.min(MAX_PREFETCH_JOBS, Math.floor(settled.perMs(now) * PREFETCH_MS));
  }

  #account(workerId: string, now: number): Account {
    const known = this.#accounts.get(workerId);
    const account = known ?? { buckets: new Map(), settled: new RecentRate(now) };
    this.#accounts.delete(workerId);
    this.#accounts.set(workerId, account);
    if (known === undefined && this.#accounts.size > MAX_WORKERS)
      for (const oldest of this.#accounts.keys()) {
        this.#accounts.delete(oldest);
        break;
      }
    return account;
  }
}
