import type { JobError, Json, ParentFailure, SettledJob } from '../job/job.js';
import type { ChangedFields, ShownFields } from '../job/job-fields.js';

/** The records that the ledger returns. Instants in milliseconds since the epoch. */

export interface WorkerRef {
  /** Public key, base64url; `http:name` for one that works over HTTP. */
  readonly id: string;
  readonly name: string;
}

export type JobState = 'blocked' | 'ready' | 'leased' | 'completed' | 'failed' | 'cancelled';
export type JobCounts = Readonly<Record<JobState, number>>;

/** Why a ready job is not handed out now. */
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
  /** The last one, also of a job that waits for another attempt. */
  readonly error?: JobError;
  /** Its outcome is that of this duplicate. */
  readonly mergedWith?: string;
}

/** All there is to know about one job. */
export interface JobRecord extends JobSummary, ShownFields<'record'> {
  readonly parents: readonly string[];
  readonly children: readonly string[];
  /** That of its group, if it says nothing itself. */
  readonly parentFailure: ParentFailure;
  /** Once it has ended. */
  readonly settled?: SettledJob;
}

/** What may be changed of a job that does not run; null takes a value away. */
export interface JobChanges extends ChangedFields {
  /** How many runs may still fail, from 0: at 0 a waiting job fails now. */
  readonly attemptsLeft?: number;
}

export interface JobFilter {
  readonly state?: JobState;
  readonly channel?: string;
  readonly group?: string;
  readonly workgroup?: string;
  /** A part of the id, from its beginning. */
  readonly idPrefix?: string;
}

/** What waits again together; without a state, what has failed. */
export interface RedriveFilter extends Pick<JobFilter, 'channel' | 'group' | 'workgroup'> {
  readonly state?: 'failed' | 'cancelled';
}

/** Pages go from the newest to the oldest unless `oldestFirst`. */
export interface JobPage {
  readonly jobs: readonly JobSummary[];
  /** Give it as `after` for the next page; absent on the last. */
  readonly next?: string;
}

export interface GroupInput {
  readonly id: string;
  readonly name?: string;
  readonly paused?: boolean;
  readonly parentFailure?: ParentFailure;
  /** Deleted with its jobs this long after its last job has ended; null for never. Default: the ledger's retention. */
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
  /** Σ weight of completed jobs / Σ weight of all, 0 to 1; 0 without jobs. */
  readonly progress: number;
}

/** Jobs of a group as a graph; at most `limit` nodes, those created first. */
export interface GroupGraph {
  readonly nodes: readonly { readonly id: string; readonly name?: string; readonly channel: string; readonly state: JobState }[];
  /** Parent and child, as indexes into `nodes`. */
  readonly edges: readonly (readonly [number, number])[];
  readonly truncated: boolean;
}

export interface ChannelRecord {
  readonly name: string;
  readonly counts: JobCounts;
}

export interface WorkgroupInput {
  readonly id: string;
  /** How many of its jobs may run at once; null for no limit. */
  readonly maxRunning?: number | null;
  /** How many of its jobs may start in each `periodMs`; null for no limit. */
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

/** A worker that the ledger has met; whether it is connected is the Master's to say. */
export interface WorkerRecord extends WorkerRef {
  readonly approvedAt?: number;
  readonly revokedAt?: number;
  /** Gets no jobs from then on. */
  readonly drainedAt?: number;
}

export type Missed = 'skip' | 'once' | 'all';

export interface ScheduleInput {
  readonly id: string;
  /** Five fields, or six with seconds first. */
  readonly cron: string;
  /** IANA name; default `UTC`. */
  readonly timeZone?: string;
  /** What is made up for runs that were missed while no Master was there; default `once`. */
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
  /** `error`: a run that failed; its body is a JobError. `log` and `progress`: as a Progress. */
  readonly kind: 'log' | 'progress' | 'error';
  readonly body: Json;
}

export type { Retention } from '../config/values.js';
