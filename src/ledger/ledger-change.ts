import type { JobState } from './records.js';

export interface CancelledJob {
  readonly id: string;
  /** Set if it was running. */
  readonly running?: { readonly workerId: string; readonly lease: number };
}

/** What a commit changed. For commits of other Masters the lists may be truncated: then `cut` is true and `jobs` is incomplete. */
export interface LedgerChange {
  /** Jobs that were added or changed state, with their new state. */
  readonly jobs: readonly JobChange[];
  readonly cut: boolean;
  /** Jobs may have become ready. */
  readonly ready: boolean;
  /** Jobs were settled. */
  readonly settled: boolean;
  /** Runs that no longer count, with their workers. */
  readonly cancelled: readonly CancelledJob[];
  /** Groups, workgroups, schedules and workers that were created, changed or deleted. */
  readonly rows: readonly { readonly kind: 'group' | 'workgroup' | 'schedule' | 'worker'; readonly id: string }[];
  /** The earliest instant at which something scheduled by this commit becomes due. */
  readonly dueAt?: number;
  /** Whether this Master made the commit. */
  readonly own: boolean;
}

export interface JobChange {
  readonly id: string;
  readonly channel: string;
  readonly group?: string;
  readonly state: JobState | 'deleted';
  /** Set if the job is new. */
  readonly added?: true;
}
