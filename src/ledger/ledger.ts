import type { JobInput, SettledJob } from '../job/job.js';
import type { LeaseKey, SettleAnswer, Settlement } from '../job/verbs.js';

/**
 * The Master's memory of jobs. No network and no timers: `now` (milliseconds, the Master's clock) comes in with each call.
 * Everything called in one event-loop turn shares one transaction (group commit), and takes effect in the order of the calls.
 */
export interface Ledger {
  /** Adds jobs in order; one whose id is known already is left as it is. Rejects with `job-invalid` before anything is written. */
  add(jobs: readonly JobInput[], now: number): Promise<AddedJob[]>;
  /**
   * Leases up to `limit` ready jobs of these channels to a worker: priority first, then oldest. Fewer if their data together would
   * be more than a job's data may be, so that the answer fits in a message.
   */
  claim(claim: Claim, now: number): Promise<LeasedJob[]>;
  /** Renews the leases of a worker; answers those that are not its any more. */
  extend(worker: WorkerRef, leases: readonly LeaseKey[], until: number): Promise<LeaseKey[]>;
  /** Records outcomes, one answer each. A `released` outcome gives the job back to the front without charging an attempt. */
  settle(worker: WorkerRef, settlements: readonly Settlement[], now: number): Promise<SettleAnswer[]>;
  /**
   * After a worker returned: renews the leases of `holding` that are its, gives back the others that it had, and answers which of
   * `holding` are not its. With `charge` (its process had restarted: it may have died of the job) what is given back costs an attempt
   * and may fail with `worker-lost`; without, the worker never received it and nothing is charged.
   */
  reconcile(
    worker: WorkerRef,
    holding: readonly LeaseKey[],
    until: number,
    options: { readonly charge: boolean },
    now: number,
  ): Promise<LeaseKey[]>;
  /** Ends jobs as cancelled, also running ones; answers who runs them now, so that they can be told. Unknown and ended ids are left out. */
  cancel(ids: readonly string[], now: number): Promise<CancelledJob[]>;
  /** Takes back leases that ended, charging an attempt (code `lease-expired`); answers how many. */
  expire(now: number): Promise<number>;
  get(id: string): Promise<JobRecord | undefined>;
  /** Settled jobs in the order of their settlement, after the given cursor; fewer than `limit` if their outputs are large, none only at the end. */
  settledAfter(cursor: number, limit: number): Promise<{ readonly cursor: number; readonly job: SettledJob }[]>;
  /** The cursor of the latest settlement; 0 if there is none. */
  lastSettled(): Promise<number>;
  counts(): Promise<JobCounts>;
  /** The next instant at which something becomes ready or a lease ends; undefined if nothing is waiting for time. */
  nextWakeAt(now: number): Promise<number | undefined>;
  /** A small durable value of the Master's own, such as the task version counter. */
  remember(key: string, value: string): Promise<void>;
  recall(key: string): Promise<string | undefined>;
  /** Keeps the value if there is none for the key yet; answers the one that is kept, which may be another Master's. */
  agree(key: string, value: string): Promise<string>;
  /** Tells what other Masters changed on the same ledger. What happens while the database is away is told as anything. */
  watch(listener: (change: LedgerChange) => void): void;
  close(): Promise<void>;
}

export interface WorkerRef {
  /** Public key, base64url. */
  readonly id: string;
  readonly name: string;
}

export interface Claim {
  readonly worker: WorkerRef;
  readonly channels: readonly string[];
  readonly limit: number;
  readonly until: number;
}

export interface AddedJob {
  readonly id: string;
  /** false: a job with this id was there already. */
  readonly added: boolean;
}

export interface LeasedJob {
  readonly id: string;
  readonly lease: number;
  readonly channel: string;
  /** JSON text, as stored. */
  readonly data: string;
  readonly attempt: number;
  readonly timeoutMs: number | undefined;
}

export interface CancelledJob {
  readonly id: string;
  /** Set if it was running. */
  readonly running?: { readonly workerId: string; readonly lease: number };
}

/** What a commit changed. */
export interface LedgerChange {
  /** Something may be ready that was not, or will be. */
  readonly ready: boolean;
  /** Something was settled. */
  readonly settled: boolean;
  /** Runs that do not count any more, with their workers. */
  readonly cancelled: readonly CancelledJob[];
}

export type JobState = 'blocked' | 'ready' | 'leased' | 'completed' | 'failed' | 'cancelled';
export type JobCounts = Readonly<Record<JobState, number>>;

export interface JobRecord {
  readonly id: string;
  readonly channel: string;
  readonly state: JobState;
  readonly priority: number;
  readonly attempts: { readonly made: number; readonly allowed: number };
  readonly lease: number;
  readonly worker?: WorkerRef;
  readonly leaseUntil?: number;
  readonly runAt?: number;
  /** Once it has ended. */
  readonly settled?: SettledJob;
}
