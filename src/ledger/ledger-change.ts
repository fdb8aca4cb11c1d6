import type { JobState } from './records.js';

export interface CancelledJob {
  readonly id: string;
  /** Set if it was running. */
  readonly running?: { readonly workerId: string; readonly lease: number };
}

/** What a commit changed. Of other Masters' commits the lists may be cut short: then `cut` is true and `jobs` is not all. */
export interface LedgerChange {
  /** Jobs that were added or changed their state, by their state now. */
  readonly jobs: readonly JobChange[];
  readonly cut: boolean;
  /** Something may be ready that was not. */
  readonly ready: boolean;
  /** Something was settled. */
  readonly settled: boolean;
  /** Runs that do not count any more, with their workers. */
  readonly cancelled: readonly CancelledJob[];
  /** Groups, workgroups, schedules and workers that were made, changed or deleted. */
  readonly rows: readonly { readonly kind: 'group' | 'workgroup' | 'schedule' | 'worker'; readonly id: string }[];
  /** The first instant at which time will bring about something that it has arranged. */
  readonly dueAt?: number;
  /** False: another Master did it. */
  readonly own: boolean;
}

export interface JobChange {
  readonly id: string;
  readonly channel: string;
  readonly group?: string;
  readonly state: JobState | 'deleted';
  /** It is new. */
  readonly added?: true;
}
