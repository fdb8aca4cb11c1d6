import type { Clock } from '../clock.js';
import type { ChildBounds } from '../job/child-bounds.js';
import type { JobInput, Progress, SettledJob } from '../job/job.js';
import type { LeaseKey, SettleAnswer, Settlement } from '../job/verbs.js';
import type {
  ChannelRecord,
  GroupGraph,
  GroupInput,
  GroupRecord,
  HistoryEntry,
  JobChanges,
  JobCounts,
  JobFilter,
  JobPage,
  JobRecord,
  JobState,
  RedriveFilter,
  Retention,
  ScheduleInput,
  ScheduleRecord,
  WorkerRecord,
  WorkerRef,
  WorkgroupInput,
  WorkgroupRecord,
} from './records.js';

/**
 * The Master's memory of jobs. No network but the database's and no timers: `now` (milliseconds, steady: `Clock.now`) comes in with each call, and
 * so do instants made from it. What it answers and stores is in the time of its clock, but for `nextAt` and `dueAt`, which are for timers.
 * Everything called in one event-loop turn shares one transaction (group commit), and takes effect in the order of the calls; but what touches
 * hundreds of jobs is done in portions, between which others come in.
 */
export interface Ledger extends JobLedger, GroupLedger, WorkgroupLedger, ScheduleLedger, WorkerLedger {
  /** Tells what changed, after each commit, also what other Masters did on the same ledger. Answers the function that ends it. */
  watch(listener: (change: LedgerChange) => void): () => void;
  /**
   * What time brings about, a bounded amount a call: leases that ended are taken back (charging an attempt, code `lease-expired`, or `timeout` where
   * the run was over its time) unless `keepLeases`, due schedules are fired, resumed jobs and opened workgroups are let out, what retention has outlived is deleted.
   */
  tend(now: number, options?: { readonly keepLeases?: boolean }): Promise<Tended>;
  /** A small durable value of the Master's own, such as the task version counter. */
  remember(key: string, value: string): Promise<void>;
  recall(key: string): Promise<string | undefined>;
  /** Keeps the value if there is none for the key yet; answers the one that is kept, which may be another Master's. */
  agree(key: string, value: string): Promise<string>;
  close(): Promise<void>;
}

/** Leases whose time does not count at `now`. */
export interface Paused {
  /** Their runs have not begun. */
  readonly leases: readonly LeaseKey[];
  /** Their runs have ended, and their outcomes are on their way. */
  readonly ended?: readonly LeaseKey[];
}

/** Jobs, from push to settlement. */
export interface JobLedger {
  /**
   * Adds jobs in order; one whose id is known already is left as it is. Parents may stand anywhere in the list or be in the ledger already.
   * Rejects before anything is written: `job-invalid`, `parent-unknown`, `graph-cycle`, `graph-too-large`. Lists with parents are all or nothing.
   */
  add(jobs: readonly JobInput[], now: number): Promise<AddedJob[]>;
  /**
   * Leases up to `limit` ready jobs of these channels to a worker that has the labels they require: priority first, then oldest. Fewer if their
   * data together would be more than a job's data may be, so that the answer fits in a message. What is paused, held or full is passed over.
   */
  claim(claim: Claim, now: number): Promise<LeasedJob[]>;
  /**
   * Renews the leases of a worker, but never beyond the time limit of the run and a grace (TIMEOUT_GRACE_MS); answers those that are not its any more. The
   * time of those that are said to be waiting, and to have been leased for less than MAX_WAIT_MS, counts from `now`; else from the lease. So does that of
   * those whose outcome is said to be on its way, for MAX_WAIT_MS beyond the time that the run had. One that ended in silence is resumed, and not charged,
   * unless the job was given to somebody else, a twin of it runs, or its workgroup is full.
   */
  extend(worker: WorkerRef, leases: readonly LeaseKey[], until: number, now: number, paused?: Paused): Promise<LeaseKey[]>;
  /** Those of the leases that are not the worker's. Nothing is renewed. */
  lost(worker: WorkerRef, leases: readonly LeaseKey[]): Promise<LeaseKey[]>;
  /**
   * Records outcomes, one answer each: with what their runs told last, its twins, its children, its hold, all at once. A `released` outcome gives the job back to the front
   * without charging an attempt. Children that cannot be created, or that may not be by `policy` (default: those of the run's own channel may), make the
   * run a failed one (`children-invalid`, not retried), and so does a hold that is too long (`hold-too-long`).
   */
  settle(worker: WorkerRef, settlements: readonly Settlement[], now: number, policy?: ChildPolicy): Promise<SettleAnswer[]>;
  /**
   * After a worker returned: renews the leases of `holding` that are its, or resumes them as `extend` does, gives back the others that it had, and answers which of
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
  /** Failed and cancelled jobs wait again, with all their attempts; descendants that failed for their sake are blocked again. Answers the ids. */
  retry(ids: readonly string[], now: number): Promise<string[]>;
  /**
   * The dead list, or a part of it, waits again: at most `limit` jobs, oldest first; answers how many. What fails again meanwhile does not count
   * again. With the state `cancelled`, the cancelled ones.
   */
  redrive(filter: RedriveFilter, limit: number, now: number): Promise<number>;
  /**
   * Jobs in any state begin anew: no output, no history, all attempts (or so many), not delayed; running ones are cancelled. Those whose parents
   * have not ended are blocked again; their own children are left as they are.
   */
  reset(ids: readonly string[], now: number, options?: { readonly attempts?: number }): Promise<CancelledJob[]>;
  /** Changes a job that has not ended; of one that runs only what matters afterwards. Undefined: unknown. Rejects with `job-invalid` or `job-ended`. */
  change(id: string, changes: JobChanges, now: number): Promise<JobRecord | undefined>;
  /** Forgets jobs with all that descends from them; running ones are cancelled. Answers how many went, and who runs. */
  delete(ids: readonly string[], now: number): Promise<{ readonly deleted: number; readonly cancelled: CancelledJob[] }>;
  /** Without `now` it is not said whether it waits for time. */
  get(id: string, now?: number): Promise<JobRecord | undefined>;
  /** The states of jobs, by id; ids that are unknown are left out. */
  states(ids: readonly string[]): Promise<ReadonlyMap<string, JobState>>;
  /** At most `limit` ids that begin like this, in their order: one that is just this comes first. */
  idsLike(prefix: string, limit: number): Promise<string[]>;
  list(
    filter: JobFilter,
    page: { readonly after?: string; readonly limit: number; readonly oldestFirst?: boolean },
    now: number,
  ): Promise<JobPage>;
  /** Settled jobs in the order of their settlement, after the given cursor; fewer than `limit` if their outputs are large, none only at the end. */
  settledAfter(cursor: number, limit: number): Promise<{ readonly cursor: number; readonly job: SettledJob }[]>;
  /** The cursor of the latest settlement; 0 if there is none. */
  lastSettled(): Promise<number>;
  counts(): Promise<JobCounts>;
  channels(): Promise<ChannelRecord[]>;
  /**
   * Adds what the runs of a worker tell to the history of their jobs, also of those that have ended, as long as nobody else has had the job. What is
   * beyond 500 lines a job is left out, and one line says so; 100 more are kept for what comes with the outcomes of runs.
   */
  record(worker: WorkerRef, entries: readonly HistoryInput[], now: number): Promise<void>;
  history(id: string, after: number, limit: number): Promise<HistoryEntry[]>;
}

export interface GroupLedger {
  /** Makes a group, or changes the given fields of one that is there. */
  putGroup(group: GroupInput, now: number): Promise<GroupRecord>;
  getGroup(id: string): Promise<GroupRecord | undefined>;
  listGroups(page: {
    readonly after?: string;
    readonly limit: number;
  }): Promise<{ readonly groups: readonly GroupRecord[]; readonly next?: string }>;
  graphOf(id: string, limit: number): Promise<GroupGraph | undefined>;
  /** One row is written: jobs of the group, also later ones, start no more until it is resumed. Running ones go on. False: unknown. */
  pauseGroup(id: string, now: number): Promise<boolean>;
  resumeGroup(id: string, now: number): Promise<boolean>;
  /** Its failed jobs wait again. Answers how many; undefined: unknown. */
  retryGroup(id: string, now: number): Promise<number | undefined>;
  /** All to the beginning: with seeds, all other jobs are deleted; those that stay wait again. Running ones are cancelled. Undefined: unknown. */
  resetGroup(id: string, now: number): Promise<CancelledJob[] | undefined>;
  /** Cancels all that has not ended. Undefined: unknown. */
  cancelGroup(id: string, now: number): Promise<CancelledJob[] | undefined>;
  /** Deletes it with its jobs, running ones are cancelled. Undefined: unknown. */
  deleteGroup(id: string, now: number): Promise<CancelledJob[] | undefined>;
}

export interface WorkgroupLedger {
  /** Makes a workgroup, or changes the given limits of one that is there. */
  putWorkgroup(workgroup: WorkgroupInput, now: number): Promise<WorkgroupRecord>;
  /** No job of it starts before `until`, or an earlier hold's later end. Makes it if it is unknown. */
  holdWorkgroup(id: string, until: number, now: number): Promise<WorkgroupRecord>;
  /** Ends a hold. Undefined: unknown. */
  releaseWorkgroup(id: string, now: number): Promise<WorkgroupRecord | undefined>;
  getWorkgroup(id: string): Promise<WorkgroupRecord | undefined>;
  listWorkgroups(page: {
    readonly after?: string;
    readonly limit: number;
  }): Promise<{ readonly workgroups: readonly WorkgroupRecord[]; readonly next?: string }>;
}

export interface ScheduleLedger {
  /** Makes or replaces a schedule. Rejects with `schedule-invalid` or `job-invalid`. */
  putSchedule(schedule: ScheduleInput, now: number): Promise<ScheduleRecord>;
  pauseSchedule(id: string, paused: boolean, now: number): Promise<ScheduleRecord | undefined>;
  deleteSchedule(id: string): Promise<boolean>;
  getSchedule(id: string): Promise<ScheduleRecord | undefined>;
  listSchedules(): Promise<ScheduleRecord[]>;
}

export interface WorkerLedger {
  /** How many jobs these workers, by id, have leased. */
  countLeased(workers: readonly string[]): Promise<number>;
  listWorkers(): Promise<WorkerRecord[]>;
  getWorker(id: string): Promise<WorkerRecord | undefined>;
  /** Sets or clears marks of a worker; enters one that is not known yet. Its leases are its until they end. */
  markWorker(worker: WorkerRef, marks: WorkerMarks, now: number): Promise<WorkerRecord>;
}

export interface WorkerMarks {
  readonly approved?: boolean;
  readonly revoked?: boolean;
  readonly drained?: boolean;
}

export interface Claim {
  readonly worker: WorkerRef;
  readonly channels: readonly string[];
  /** Of the worker, such as `arch=arm64` or `gpu`. */
  readonly labels?: readonly string[];
  readonly limit: number;
  readonly until: number;
  /** How many jobs the worker may hold, with those that it holds already, wherever it got them. */
  readonly maxHeld?: number;
  /** Called when it holds as many as it may: there may be more for others. */
  readonly onFull?: () => void;
}

/** What the children of runs may be, by the channel of the run; `any`: what its caller could push itself. */
export type ChildPolicy = 'any' | ((channel: string) => ChildBounds);

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
  /** In the order in which the job names them; absent if it has none. `data` and `output` are JSON texts. */
  readonly parents?: readonly LeasedParent[];
}

export interface LeasedParent {
  readonly id: string;
  readonly channel: string;
  readonly data: string;
  readonly output: string;
}

export interface CancelledJob {
  readonly id: string;
  /** Set if it was running. */
  readonly running?: { readonly workerId: string; readonly lease: number };
}

export interface HistoryInput {
  readonly id: string;
  readonly lease: number;
  readonly progress: Progress;
}

export interface Tended {
  /** How many leases ended without a word from their workers. */
  readonly expired: number;
  /** How many runs were ended because they were over their time. */
  readonly late: number;
  /** Something became ready, or ended. */
  readonly changed: boolean;
  /** Call again at this instant (in the past: at once, there is more to do); undefined if nothing is waiting for time. */
  readonly nextAt: number | undefined;
  /** The clock of the ledger was set, and its instants shifted: other Masters may go by the old time for another moment. */
  readonly moved: boolean;
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

export interface LedgerOptions {
  /** Whose ledger it is, where several may open it: who names another while it is at work is refused with `ledger-key`. At most 100 characters, no space. */
  readonly owner?: string;
  /** With Postgres behind a pooler: the address of the database itself, where this Master hears of others. Default: it looks every second. */
  readonly listenUrl?: string;
  /**
   * Where the `now` of all calls comes from. With it the ledger keeps a time of its own, that of the machine's clock or of the database's, and
   * durations survive that this is set. Default: the ledger's time is what the calls say.
   */
  readonly clock?: Pick<Clock, 'now' | 'wall'>;
  /** Numbers from 0 to below 1, for the jitter of back-offs and made-up ids. Default `Math.random`. */
  readonly random?: () => number;
  /** How long ended jobs are kept. Default: for ever. */
  readonly retention?: Retention;
}

export type * from './records.js';
