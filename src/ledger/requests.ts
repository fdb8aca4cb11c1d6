import type { Clock } from '../clock.js';
import type { ChildBounds } from '../job/child-bounds.js';
import type { JobFiles } from '../job/files.js';
import type { Progress } from '../job/job.js';
import type { LeaseKey } from '../job/verbs.js';
import type { Retention, WorkerRef } from './records.js';

export interface LedgerOptions {
  /**
   * The Master that owns the ledger, where several may open it: another owner is refused with `ledger-key` while this one is active. At
   * most 100 characters, no spaces.
   */
  readonly owner?: string;
  /** With Postgres behind a pooler: the database's own address, for notifications from other Masters. Default: poll every second. */
  readonly listenUrl?: string;
  /**
   * The clock that supplies the `now` of all calls. With it the ledger keeps its own time, that of the machine's or the database's clock,
   * and durations survive a change of that clock. Default: the ledger's time is what the calls pass.
   */
  readonly clock?: Pick<Clock, 'now' | 'wall'>;
  /** Returns numbers in [0, 1), for back-off jitter and generated ids. Default `Math.random`. */
  readonly random?: () => number;
  /** How long ended jobs are kept. Default: forever. */
  readonly retention?: Retention;
}

export interface Claim {
  readonly worker: WorkerRef;
  readonly channels: readonly string[];
  /** The worker's labels, such as `arch=arm64` or `gpu`. */
  readonly labels?: readonly string[];
  readonly limit: number;
  readonly until: number;
  /** Maximum number of jobs the worker may hold, including those it already holds, from any Master. */
  readonly maxHeld?: number;
  /** Called when the worker reaches `maxHeld`: others may be able to take the remaining jobs. */
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
  /** Files that the parent made; absent if there are none. */
  readonly files?: JobFiles;
}

/** Leases whose run time does not count at `now`. */
export interface Paused {
  /** Leases whose runs have not begun. */
  readonly leases: readonly LeaseKey[];
  /** Leases whose runs have ended and whose outcomes are in transit. */
  readonly ended?: readonly LeaseKey[];
}

/** What the children of a run may be, by the run's channel; `any`: whatever the caller could push itself. */
export type ChildPolicy = 'any' | ((channel: string) => ChildBounds);

export interface AddedJob {
  readonly id: string;
  /** False if a job with this id already existed. */
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
  /** Number of leases that ended without an outcome from their workers. */
  readonly expired: number;
  /** Number of runs that were ended for exceeding their time limit. */
  readonly late: number;
  /** Whether any job became ready or ended. */
  readonly changed: boolean;
  /** The instant of the next call (in the past: at once, there is more to do); undefined if nothing is pending. */
  readonly nextAt: number | undefined;
  /** Whether the ledger's clock was set and its instants shifted: other Masters may use the old time for a moment longer. */
  readonly moved: boolean;
}

/** Selects one page of a list. */
export interface Page {
  /** Id of the last entry of the previous page; absent for the first page. */
  readonly after?: string;
  readonly limit: number;
}
