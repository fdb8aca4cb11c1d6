import type { Clock } from '../clock.js';
import type { ChildBounds } from '../job/child-bounds.js';
import type { JobFiles } from '../job/files.js';
import type { Progress } from '../job/job.js';
import type { LeaseKey } from '../job/verbs.js';
import type { Retention, WorkerRef } from './records.js';

export interface LedgerOptions {
  /** The Master that the ledger belongs to, where several may open it: another owner is refused while it is at work, with `ledger-key`. At most 100 characters, no space. */
  readonly owner?: string;
  /** With Postgres behind a pooler: the address of the database itself, where this Master hears of others. Default: it looks every second. */
  readonly listenUrl?: string;
  /**
   * Where the `now` of all calls comes from. With it the ledger keeps its own time, that of the machine's clock or of the database's, and
   * durations survive a change of it. Default: the ledger's time is what the calls pass.
   */
  readonly clock?: Pick<Clock, 'now' | 'wall'>;
  /** Numbers from 0 to below 1, for the jitter of back-offs and made-up ids. Default `Math.random`. */
  readonly random?: () => number;
  /** How long ended jobs are kept. Default: for ever. */
  readonly retention?: Retention;
}

export interface Claim {
  readonly worker: WorkerRef;
  readonly channels: readonly string[];
  /** Of the worker, such as `arch=arm64` or `gpu`. */
  readonly labels?: readonly string[];
  readonly limit: number;
  readonly until: number;
  /** How many jobs the worker may hold, including those that it holds already, from whichever Master. */
  readonly maxHeld?: number;
  /** Called when it holds as many as it may: there may be more for others. */
  readonly onFull?: () => void;
}

export interface LeasedJob {
  readonly id: string;
  readonly lease: number;
  readonly channel: string;
  /** JSON text, as stored. */
  readonly data: string;
  readonly attempt: number;
  readonly timeoutMs: number | undefined;
  /** In the order in which the job names them; absent if it has none. `data` and `output` are JSON texts. */
  readonly parents?: readonly LeasedParent[];
  /** Absent if it has none. */
  readonly files?: JobFiles;
}

export interface LeasedParent {
  readonly id: string;
  readonly channel: string;
  readonly data: string;
  readonly output: string;
}

/** Leases whose time does not count at `now`. */
export interface Paused {
  /** Their runs have not begun. */
  readonly leases: readonly LeaseKey[];
  /** Their runs have ended, and their outcomes are on their way. */
  readonly ended?: readonly LeaseKey[];
}

/** What the children of runs may be, by the channel of the run; `any`: what its caller could push itself. */
export type ChildPolicy = 'any' | ((channel: string) => ChildBounds);

export interface AddedJob {
  readonly id: string;
  /** false: a job with this id was there already. */
  readonly added: boolean;
}

export interface HistoryInput {
  readonly id: string;
  readonly lease: number;
  readonly progress: Progress;
}

export interface WorkerMarks {
  readonly approved?: boolean;
  readonly revoked?: boolean;
  readonly drained?: boolean;
}

export interface MaintenanceResult {
  /** Leases that ended without an outcome from their workers. */
  readonly expired: number;
  /** Runs that were ended because they were over their time limit. */
  readonly late: number;
  /** Something became ready, or ended. */
  readonly changed: boolean;
  /** Call again at this instant (in the past: at once, there is more to do); undefined if nothing is waiting for time. */
  readonly nextAt: number | undefined;
  /** The clock of the ledger was set, and its instants shifted: other Masters may go by the old time for another moment. */
  readonly moved: boolean;
}

/** One page of a list. */
export interface Page {
  /** The id of the last entry of the page before; absent: the first page. */
  readonly after?: string;
  readonly limit: number;
}
