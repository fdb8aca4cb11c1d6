import type { JobError, Json, ParentFailure, SettledJob } from '../job/job.js';
import type { ChangedFields, ShownFields } from '../job/job-fields.js';

/** The records that the ledger returns. Instants are in milliseconds since the epoch. */

export interface WorkerRef {
  /** Public key, base64url; `http:name` for a worker that uses the HTTP API. */
  readonly id: string;
  readonly name: string;
}

export type JobState = 'blocked' | 'ready' | 'leased' | 'completed' | 'failed' | 'cancelled';
export type JobCounts = Readonly<Record<JobState, number>>;

/** Why a ready job cannot be claimed now. */
export type Waiting = 'delayed' | 'group-paused' | 'workgroup-held' | 'workgroup-full' | 'duplicate-runs';

/** A job as lists show it, without its data and output. */
export interface JobSummary extends ShownFields<'summary'> {
  readonly id: string;
  readonly state: JobState;
  readonly waiting?: Waiting;
  readonly attempts: { readonly made: number; readonly allowed: number };
  readonly lease: number;
  readonly worker?: WorkerRef;
  readonly leaseUntil?: number;
  readonly createdAt: number;
  readonly startedAt?: number;
  readonly finishedAt?: number;
  /** The latest error, also while the job waits for another attempt. */
  readonly error?: JobError;
  /** The duplicate whose outcome this job shares. */
  readonly mergedWith?: string;
}

/** The full record of a job. */
export interface JobRecord extends JobSummary, ShownFields<'record'> {
  readonly parents: readonly string[];
  readonly children: readonly string[];
  /** The job's own policy, or that of its group. */
  readonly parentFailure: ParentFailure;
  /** Set once the job has ended. */
  readonly settled?: SettledJob;
}

/** Changes to a job that is not running; null clears a value. */
export interface JobChanges extends ChangedFields {
  /** How many more runs may fail. At 0 a waiting job fails immediately. */
  readonly attemptsLeft?: number;
}

export interface JobFilter {
  readonly state?: JobState;
  readonly channel?: string;
  readonly group?: string;
  readonly workgroup?: string;
  /** A prefix of the id. */
  readonly idPrefix?: string;
}

/** Which ended jobs to retry; the default state is `failed`. */
export interface RedriveFilter extends Pick<JobFilter, 'channel' | 'group' | 'workgroup'> {
  readonly state?: 'failed' | 'cancelled';
}

/** A page of jobs, newest first unless `oldestFirst`. */
export interface JobPage {
  readonly jobs: readonly JobSummary[];
  /** Pass it as `after` for the next page; absent on the last one. */
  readonly next?: string;
}

export interface GroupInput {
  readonly id: string;
  readonly name?: string;
  readonly paused?: boolean;
  readonly parentFailure?: ParentFailure;
  /** How long after the end of its last job the group is deleted with its jobs; null for never. Default: the ledger's retention. */
  readonly retainMs?: number | null;
  readonly meta?: Json;
}

export interface GroupRecord {
  readonly id: string;
  readonly name: string;
  readonly paused: boolean;
  readonly parentFailure: ParentFailure;
  readonly retainMs?: number;
  readonly createdAt: number;
  readonly meta?: Json;
  readonly counts: JobCounts;
  /** Σ weight of completed jobs / Σ weight of all jobs, from 0 to 1; 0 without jobs. */
  readonly progress: number;
}

/** The jobs of a group as a graph of at most `limit` nodes, oldest first. */
export interface GroupGraph {
  readonly nodes: readonly { readonly id: string; readonly name?: string; readonly channel: string; readonly state: JobState }[];
  /** Pairs of parent and child, as indexes into `nodes`. */
  readonly edges: readonly (readonly [number, number])[];
  readonly truncated: boolean;
}

export interface ChannelRecord {
  readonly name: string;
  readonly counts: JobCounts;
}

export interface WorkgroupInput {
  readonly id: string;
  /** Maximum number of its jobs that run at once; null for no limit. */
  readonly maxRunning?: number | null;
  /** Maximum number of its jobs that start per `periodMs`; null for no limit. */
  readonly rate?: number | null;
  readonly periodMs?: number | null;
}

export interface WorkgroupRecord {
  readonly id: string;
  readonly heldUntil?: number;
  readonly maxRunning?: number;
  readonly rate?: number;
  readonly periodMs?: number;
  readonly running: number;
}

/** A worker that the ledger knows; whether it is connected is known to the Master. */
export interface WorkerRecord extends WorkerRef {
  readonly approvedAt?: number;
  readonly revokedAt?: number;
  /** Since when the worker receives no more jobs. */
  readonly drainedAt?: number;
}

export type Missed = 'skip' | 'once' | 'all';

export interface ScheduleInput {
  readonly id: string;
  /** A cron expression of five fields, or six with seconds first. */
  readonly cron: string;
  /** IANA time zone name; default `UTC`. */
  readonly timeZone?: string;
  /** How runs that were missed while no Master was running are made up for; default `once`. */
  readonly missed?: Missed;
  readonly paused?: boolean;
  /** A JobInput without `id`, `runAt` and `delayMs`. */
  readonly job: Json;
}

export interface ScheduleRecord {
  readonly id: string;
  readonly cron: string;
  readonly timeZone: string;
  readonly missed: Missed;
  readonly paused: boolean;
  readonly lastAt?: number;
  readonly nextAt?: number;
  readonly job: Json;
}

/** A line in the history of a job. */
export interface HistoryEntry {
  readonly seq: number;
  readonly at: number;
  /** `error`: a failed run, with a JobError as body. `log` and `progress`: a report, as in Progress. */
  readonly kind: 'log' | 'progress' | 'error';
  readonly body: Json;
}

export type { Retention } from '../config/values.js';
