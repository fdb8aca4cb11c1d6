/**
 * The messages between a runner and its child process: one JSON array per line.
 *
 * The child reads fd 3 and writes fd 4. It writes synchronously and before it begins the next job, so that whatever ended a job is safe
 * in the pipe if the next one kills the process. fd 5 is the fence (see fence.ts). The parent trusts none of it: the task can write to
 * the same descriptors.
 */

import type { FileRef } from '../../../job/files.js';
import type { Continuation, Hold, Json, ParentOutput, Progress } from '../../../job/job.js';
import type { ErrorPart } from '../../../kit/error-parts.js';

/** The first line that a child receives. */
export interface ChildSetup {
  /** Absolute path of the task's entry. */
  readonly entry: string;
  /** Absolute path of the only writable folder. */
  readonly workdir: string;
  readonly maxOutputBytes: number;
  readonly maxLineChars: number;
}

/** A job, numbered by the parent: 1, 2, 3 … for each child. */
export type JobLine = readonly [
  'job',
  number: number,
  id: string,
  attempt: number,
  channel: string,
  data: Json,
  parents?: readonly ChildParent[],
  tunnel?: TunnelAddress | null,
  files?: ChildFiles,
];

/** The files of a job: their paths by name, and the references of these and of its parents' files by path. */
export interface ChildFiles {
  readonly paths: Readonly<Record<string, string>>;
  readonly refs: Readonly<Record<string, FileRef>>;
}

/** A parent of a job as the job sees it; `files` are paths by name. */
export type ChildParent = Omit<ParentOutput, 'files'> & { readonly files?: Readonly<Record<string, string>> };

/** A port of this machine that leads to the one address at its Master that the job may reach. */
export interface TunnelAddress {
  readonly host: string;
  readonly port: number;
}

/** The files that the job left are taken: the child may go on. */
export type TakenLine = readonly ['taken', number];

/** Asks the running job to stop by itself. */
export type AbortLine = readonly ['abort', number: number, reason: string];

export type FailureCode = 'task-threw' | 'output-unsendable' | 'output-too-large' | 'crashed' | 'memory';

/** What a task requests besides returning its output. */
export type Asks = Continuation & Hold;

export type ChildLine =
  | readonly ['ready']
  | readonly ['unloadable', message: string, details: ErrorPart | null]
  | readonly ['completed', number: number, tookMs: number, output: Json, asks?: Asks]
  | readonly [
      'failed',
      number: number,
      tookMs: number,
      code: FailureCode,
      message: string,
      retry: boolean,
      holdMs: number | null,
      details: ErrorPart | null,
    ]
  /** Not begun, because the parent had revoked it. */
  | readonly ['back', number: number]
  /** The job has left files in its folder for them, and waits until they are taken. */
  | readonly ['out', number: number]
  | readonly ['report', number: number, progress: readonly Progress[]]
  /** The process cannot run another job. */
  | readonly ['worn']
  /** The process ends by itself, with this exit code. */
  | readonly ['bye', code: number];

/** In the working folder: what a job leaves there comes back with its outcome. */
export const OUT_FOLDER = 'outdir';

export const COMMAND_FD = 3;
export const ANSWER_FD = 4;
export const FENCE_FD = 5;
