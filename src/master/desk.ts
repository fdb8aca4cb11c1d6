import type { Clock } from '../clock.js';
import type { JobInput, Progress } from '../job/job.js';
import type { LeaseKey, Report, SettleAnswer, Settlement } from '../job/verbs.js';
import type { AddedJob, ChildPolicy, LeasedJob, Ledger, LedgerChange, WorkerMarks, WorkerRef } from '../ledger/ledger.js';
import type { Log } from '../log.js';
import type { ConnectedWorker } from './options.js';
import type { Results } from './results.js';
import type { WorkerRates } from './worker-rates.js';

/**
 * What stands between the Master's ledger and everything that drives it from outside: the HTTP API, the dashboard, crew clients.
 * Whoever changes the ledger through it wakes those who wait. Reading, and verbs without an effect on others, go to `ledger` directly.
 */
export interface Desk {
  readonly name: string;
  readonly version: string;
  readonly startedAt: number;
  readonly clock: Clock;
  readonly log: Log;
  readonly ledger: Ledger;
  readonly results: Results;
  /** Lease and beat of workers, in milliseconds. */
  readonly leaseMs: number;
  readonly beatMs: number;
  /** Channels that this Master has a task for. */
  readonly taskChannels: () => readonly string[];
  push(jobs: readonly JobInput[]): Promise<AddedJob[]>;
  /** Answers the ids that this ended, and tells their workers. */
  cancel(ids: readonly string[]): Promise<string[]>;
  /**
   * Leases jobs to a worker that is not linked: waits up to `waitMs` for at least one. A worker that is revoked is refused with
   * `worker-revoked`; one that is drained gets none.
   */
  lease(request: LeaseRequest): Promise<LeasedJob[]>;
  /**
   * `leaseMs` from now; default: the Master's. The time of those that wait has not begun, that of those that have ended is over. This and what follows rejects with `worker-revoked`,
   * `worker-unapproved`, or `rpc-overloaded` if the worker asks for too much.
   */
  extend(
    worker: WorkerRef,
    leases: readonly LeaseKey[],
    options?: { readonly leaseMs?: number; readonly waiting?: readonly LeaseKey[]; readonly ended?: readonly LeaseKey[] },
  ): Promise<LeaseKey[]>;
  /**
   * `policy`: where children may go; default: as the tasks and the owner say. What the runs told last is announced before their ends, if `holds`
   * says that the worker was found to hold the lease.
   */
  settle(
    worker: WorkerRef,
    settlements: readonly Settlement[],
    policy?: ChildPolicy,
    holds?: (key: LeaseKey) => boolean,
  ): Promise<SettleAnswer[]>;
  /** Gives back what nobody will run under these leases; nothing is charged. */
  giveBack(worker: WorkerRef, leases: readonly LeaseKey[], reason: string): Promise<void>;
  /**
   * Stores what running jobs tell, and announces it where `holds` says that the worker was found to hold the lease. Of the rest the ledger knows whether
   * the run has just ended, or never was the worker's. Throws `rpc-overloaded` if that is too much, and takes nothing of it then.
   */
  report(worker: WorkerRef, reports: readonly RunReport[], holds?: (key: LeaseKey) => boolean): void;
  /** Resolves when all that was reported so far is in the ledger. */
  reported(): Promise<void>;
  /** Workers linked to this Master now. */
  workers(): ConnectedWorker[];
  /** Lets a worker in, puts it out (its link ends), stops or resumes handing it jobs. */
  mark(worker: WorkerRef, marks: WorkerMarks): Promise<void>;
  /** What workers ask for, and how much of it they may. */
  readonly rates: WorkerRates;
  /** What changes, from now on; the function ends it. */
  watch(listener: (event: DeskEvent) => void): () => void;
}

export type RunReport = LeaseKey & Report;

export interface LeaseRequest {
  readonly worker: WorkerRef;
  readonly channels: readonly string[];
  readonly labels?: readonly string[];
  readonly limit: number;
  readonly waitMs: number;
  /** How many jobs the worker may hold in all; default: the most that any may, MAX_HELD_JOBS. */
  readonly maxHeld?: () => number;
  /** Default: the Master's. */
  readonly leaseMs?: number;
  readonly signal?: AbortSignal;
}

export type DeskEvent =
  | { readonly kind: 'ledger'; readonly change: LedgerChange }
  | { readonly kind: 'progress'; readonly id: string; readonly worker: string; readonly progress: Progress }
  | { readonly kind: 'worker'; readonly event: 'connected' | 'disconnected'; readonly worker: ConnectedWorker };
