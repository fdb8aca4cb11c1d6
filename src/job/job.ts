/** The central noun of this project: one unit of work, in its different forms. */
import type { ErrorPart } from '../kit/error-parts.js';
import type { Json } from '../kit/json.js';
import type { JobFiles } from './files.js';
import type { JobInput, ParentFailure } from './job-fields.js';

export { DEFAULT_CHANNEL } from './limits.js';
export type { JobInput, Json, ParentFailure };

/** A job that a completed run creates, in the group of its creator. */
export interface ChildInput extends Omit<JobInput, 'group' | 'parents'> {
  /** Name by which its siblings refer to it. */
  readonly ref?: string;
  /** Siblings by `ref`, in any order. Absent: its parent is the job that creates it; empty: it has no parents. */
  readonly parents?: readonly string[];
}

/** A parent of a job, as passed to the job's run. */
export interface ParentOutput {
  readonly id: string;
  readonly channel: string;
  readonly data: Json;
  /** null if the parent did not complete, which is possible with `parentFailure: 'run'`. */
  readonly output: Json;
  /** Files that the parent made; absent if there are none. */
  readonly files?: JobFiles;
}

/** A job as passed to a runner. */
export interface Job {
  readonly id: string;
  readonly channel: string;
  readonly data: Json;
  /** 1 for the first run. */
  readonly attempt: number;
  /** Time limit of the run (wall time) in milliseconds; 0 for none. */
  readonly timeoutMs: number;
  /** In the order in which the job names them; absent if it has none. */
  readonly parents?: readonly ParentOutput[];
  /** References by name; absent if it has none. */
  readonly files?: JobFiles;
}

/** How a run ended. */
export type Outcome =
  | ({ readonly state: 'completed'; readonly output: Json } & Made & Continuation & Hold)
  | ({
      readonly state: 'failed';
      readonly error: JobError;
      /** False if another attempt would fail the same way. */
      readonly retry: boolean;
      /**
       * Partial output of the failed run, such as a container's printed lines and files; bounded like any output and stored with the
       * failure.
       */
      readonly output?: Json;
    } & Made &
      Hold)
  | { readonly state: 'released'; readonly reason: string };

/** What a run made besides its output. */
export interface Made {
  /** Files by name. The source receives their content before the outcome. */
  readonly files?: JobFiles | undefined;
}

/** What the ledger creates together with the completion of the run, all or nothing. */
export interface Continuation {
  readonly children?: readonly ChildInput[] | undefined;
  /** Minimum delay: no direct child, new or old, runs sooner than this after the settlement. In milliseconds. */
  readonly childrenDelayMs?: number | undefined;
}

/** Keeps all jobs of the run's workgroup from starting for this long, for example because an API reports that its limit is reached. */
export interface Hold {
  readonly holdMs?: number | undefined;
}

export interface JobError {
  /** A code of the error table; an error thrown by the task is `task-threw`. */
  readonly code: string;
  /** One sentence, with the messages of its causes. */
  readonly message: string;
  /** Exit code of the failed program, if the job ran one: a container's, a crawl's. */
  readonly exitCode?: number;
  /** The thrown error with all its causes. */
  readonly cause?: ErrorPart;
}

/** The end of a job as users receive it: one line of `results.ndjson`. */
export interface SettledJob {
  readonly id: string;
  readonly state: 'completed' | 'failed' | 'cancelled';
  /** The output; for a failed job, the partial output of its last run, if any. */
  readonly output?: Json;
  /** Files that its last run made, by name; absent if there are none. */
  readonly files?: JobFiles;
  readonly error?: JobError;
  readonly attempts: number;
  /** Name of the worker that settled it, if any. */
  readonly worker?: string;
  readonly startedAt?: number;
  readonly finishedAt: number;
}

/** A report of a running job. */
export type Progress =
  | { readonly kind: 'progress' /** any JSON; a number is read as a share of 1 */; readonly value: Json }
  | { readonly kind: 'log'; readonly stream: 'stdout' | 'stderr' | 'log'; readonly line: string };
