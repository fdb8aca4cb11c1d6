/** The noun this project is about: one unit of work, and the forms it takes on its way. */

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
}

/** How a run ended. */
export type Outcome =
  | { readonly state: 'completed'; readonly output: Json }
  | { readonly state: 'failed'; readonly error: JobError /** false: another attempt would fail the same way */; readonly retry: boolean }
  | { readonly state: 'released'; readonly reason: string };

export interface JobError {
  /** A code of the error table; what the task threw is `task-threw`. */
  readonly code: string;
  readonly message: string;
}

/** The end of a job, as results are given to users: one line of `results.ndjson`. */
export interface SettledJob {
  readonly id: string;
  readonly state: 'completed' | 'failed' | 'cancelled';
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
