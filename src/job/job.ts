/** The noun this project is about: one unit of work, and the forms it takes on its way. */
import type { ErrorPart } from '../kit/error-parts.js';

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

export const DEFAULT_CHANNEL = 'default';

/** A job as a user gives it to a Master. */
export interface JobInput {
  /** Chosen by the user, 1 to 200 characters; pushing the same id twice adds one job. Made up when missing. */
  readonly id?: string;
  readonly data: Json;
  readonly channel?: string;
  /** Higher goes first; integer, default 0. */
  readonly priority?: number;
  /** Wall time of one run in milliseconds; default: the Master's, 0 for none. */
  readonly timeoutMs?: number;
  /** How many runs may fail before the job does; default 3. */
  readonly attempts?: number;
  /** Not before this many milliseconds from now. */
  readonly delayMs?: number;
  /** First wait after a failed run in milliseconds; doubles with each further failure. Default 1000. */
  readonly backoffMs?: number;
  /** Whether the wait doubles with each further failure, up to an hour and with some jitter, or stays as it is. Default `exponential`. */
  readonly backoff?: 'exponential' | 'fixed';
  /** Not before this instant, in milliseconds since the epoch; instead of `delayMs`. */
  readonly runAt?: number;
  /** What people see instead of the id. */
  readonly name?: string;
  /** The group that it belongs to; made when it is first named. */
  readonly group?: string;
  /** Ids of jobs that must end first: in the ledger already, or anywhere in the same push. Their outputs are handed to this job. */
  readonly parents?: readonly string[];
  /** What a parent that fails or is cancelled does to this job: it fails too, waits on, or runs all the same. Default: the group's, else `fail`. */
  readonly parentFailure?: ParentFailure;
  /** Jobs that share a limit outside, such as an API key: they can be held together, and bounded in number and rate. */
  readonly workgroup?: string;
  /** Unfinished jobs of one channel with the same key are twins: one runs, all have its outcome. */
  readonly key?: string;
  /** Takes the output of a job with the same channel and key that completed at most this many milliseconds ago. */
  readonly keyWindowMs?: number;
  /** Its part of the group's progress; an integer from 0, default 1. */
  readonly weight?: number;
  /** Kept when its group is reset: the others are deleted. */
  readonly seed?: boolean;
  /** Labels that the Worker must have, such as `gpu` or `arch=arm64`. */
  readonly requires?: readonly string[];
  /** Held for ever by exactly one Worker: when its run ends, however it ends, it waits for the next. Only cancelling ends it. */
  readonly persistent?: boolean;
  /** Kept with the job for those who look at it; no Worker is given it. */
  readonly meta?: Json;
}

export type ParentFailure = 'fail' | 'wait' | 'run';

/** A job that a completed run creates, in the group of its creator. */
export interface ChildInput extends Omit<JobInput, 'group' | 'parents'> {
  /** Its name among its siblings. */
  readonly ref?: string;
  /** Siblings by `ref`, in any order. Absent: the job that creates it is its parent; empty: it has none. */
  readonly parents?: readonly string[];
}

/** A parent of a job, as the job's run sees it. */
export interface ParentOutput {
  readonly id: string;
  readonly channel: string;
  readonly data: Json;
  /** null if the parent did not complete, which a job with `parentFailure: 'run'` may see. */
  readonly output: Json;
}

/** A job as a runner sees it. */
export interface Job {
  readonly id: string;
  readonly channel: string;
  readonly data: Json;
  /** 1 for the first run. */
  readonly attempt: number;
  /** Wall time in milliseconds; 0 for none. */
  readonly timeoutMs: number;
  /** In the order in which the job names them; absent if it has none. */
  readonly parents?: readonly ParentOutput[];
}

/** How a run ended. */
export type Outcome =
  | ({ readonly state: 'completed'; readonly output: Json } & Continuation & Hold)
  | ({
      readonly state: 'failed';
      readonly error: JobError;
      /** false: another attempt would fail the same way */
      readonly retry: boolean;
      /** What it had made when it failed, such as what a container printed and its files; bounded as any output. Kept with the failure. */
      readonly output?: Json;
    } & Hold)
  | { readonly state: 'released'; readonly reason: string };

/** What a completed run asks the ledger to create together with its completion: all of it or nothing. */
export interface Continuation {
  readonly children?: readonly ChildInput[] | undefined;
  /** A floor: no direct child, new or old, runs sooner than this after the settlement. In milliseconds. */
  readonly childrenDelayMs?: number | undefined;
}

/** Lets no job of the run's workgroup start for so long, as when an API says that its limit is reached. */
export interface Hold {
  readonly holdMs?: number | undefined;
}

export interface JobError {
  /** A code of the error table; what the task threw is `task-threw`. */
  readonly code: string;
  /** One sentence, with the messages of its causes. */
  readonly message: string;
  /** Of the program that failed, where the job was one: a container's, a crawl's. */
  readonly exitCode?: number;
  /** What was thrown, with all that stands behind it. */
  readonly cause?: ErrorPart;
}

/** The end of a job, as results are given to users: one line of `results.ndjson`. */
export interface SettledJob {
  readonly id: string;
  readonly state: 'completed' | 'failed' | 'cancelled';
  /** Of a failed job: what its last run had made nevertheless, if it gave that back. */
  readonly output?: Json;
  readonly error?: JobError;
  readonly attempts: number;
  /** The name of the worker that ended it, if any did. */
  readonly worker?: string;
  readonly startedAt?: number;
  readonly finishedAt: number;
}

/** What a running job tells about itself. */
export type Progress =
  | { readonly kind: 'progress' /** any JSON; a number is understood as a share of 1 */; readonly value: Json }
  | { readonly kind: 'log'; readonly stream: 'stdout' | 'stderr' | 'log'; readonly line: string };
