import { PeerworkError } from '../errors.js';
import { MAX_PREFETCH_JOBS, PREFETCH_JOBS, PREFETCH_MS } from '../job/limits.js';
import { RecentRate } from '../kit/recent-rate.js';
import { TokenBucket, type TokenRate } from '../kit/token-bucket.js';

/**
 * What one worker may ask for. Measured: a Worker that does 4,000 jobs a second makes some 1,000 calls a second; a beat names its leases once in
 * ten seconds; a task writes 100 lines a second after its first 500.
 */
export const workerRates = {
  /** Calls, notes and streams. */
  calls: { burst: 8_000, perSecond: 4_000 },
  /** Leases that it names to renew them. */
  leases: { burst: 20_000, perSecond: 10_000 },
  /** Lines and progress of its jobs. */
  reports: { burst: 40_000, perSecond: 10_000 },
  /** Jobs that its runs create. */
  children: { burst: 20_000, perSecond: 2_000 },
} as const satisfies Record<string, TokenRate>;
export type RatedKind = keyof typeof workerRates;

/** Workers that are remembered: who was not heard of for longest is forgotten first. */
const MAX_WORKERS = 10_000;

interface Account {
  readonly buckets: Map<RatedKind, TokenBucket>;
  readonly settled: RecentRate;
}

/** How much each worker has asked for of late, and how fast it works: by its identity, whatever links or names it comes with. */
export class WorkerRates {
  readonly #accounts = new Map<string, Account>();

  /** Throws `rpc-overloaded` if that is too much. */
  take(workerId: string, kind: RatedKind, count: number, now: number): void {
    if (!this.has(workerId, kind, count, now)) throw new PeerworkError('rpc-overloaded', `too many ${kind}`);
  }

  /** Takes, and says whether there was enough. */
  has(workerId: string, kind: RatedKind, count: number, now: number): boolean {
    const { buckets } = this.#account(workerId, now);
    let bucket = buckets.get(kind);
    if (bucket === undefined) {
      bucket = new TokenBucket(workerRates[kind], now);
      buckets.set(kind, bucket);
    }
    return bucket.take(count, now);
  }

  settled(workerId: string, count: number, now: number): void {
    this.#account(workerId, now).settled.add(count, now);
  }

  /** How many jobs it may hold beyond those that it runs: a few, and what it will have done by the time that more can be with it. */
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
