import type { JobFiles } from './files.js';
import type { Job, Outcome, Progress } from './job.js';
import type { Exchange, OutFile, Tunnel } from './source.js';

/**
 * The isolation between a job and the machine. `process`: limits and Node's permission model, no protection against malice; `bwrap`:
 * bubblewrap; `container`: docker or podman.
 */
export type IsolationTier = 'process' | 'bwrap' | 'container';

/** The port to a way of executing jobs. A new one is a single new file (or small folder) in `src/runners/`. */
export interface Runner {
  readonly kind: string;
  /** How jobs are isolated from the machine, in one line for the owner. */
  readonly isolation: string;
  /** Set if the runner calls `begin` when a run's time starts to count; otherwise it starts when `run` is called. */
  readonly queues?: true;
  /** The isolation tier; absent if there is none to rely on. */
  readonly tier?: IsolationTier;
  /** Runs one job to its end. Never rejects: every end is an outcome. */
  run(job: Job, context: RunContext): Promise<Outcome>;
  close(): Promise<void>;
}

/** Absolute paths on this machine, by the names of the files. */
export type FilePaths = Readonly<Record<string, string>>;

/** The files of a job, and those that its parents made, in the order of the parents. */
export interface RunFiles {
  readonly own: FilePaths;
  readonly parents: readonly FilePaths[];
}

export interface RunContext {
  /** The prepared folder; absent for runners that need no task code. */
  readonly workplace?: Workplace;
  /** Files of the job, read-only, by name: absolute paths on this machine; absent if it has none. */
  readonly files?: RunFiles;
  /** Aborts when the job is cancelled (with that error as reason, if known), the lease is lost, or the worker stops immediately. */
  readonly signal: AbortSignal;
  /** The tunnel of the job; absent if it may reach nothing through its source. */
  readonly tunnel?: Tunnel;
  /** The exchange with the source that leased the job; absent if the source has none. */
  readonly exchange?: Exchange;
  /** Called when the run's time starts to count, if the runner `queues`. */
  begin?(): void;
  report(progress: Progress): void;
  /** Keeps files that the run made; the outcome then has the references. Absent if the source takes no files. Rejects with `disk-full`. */
  keepFiles?(files: AsyncIterable<OutFile>): Promise<JobFiles>;
}

/** A prepared folder with verified files and installed dependencies. Read-only for the task. */
export interface Workplace {
  /** The manifest's digest: workplaces with the same digest are identical. */
  readonly digest: string;
  /** Absolute path of the folder with the task's files. */
  readonly folder: string;
  /** The entry, relative to the folder. */
  readonly entry: string;
  /** Absolute paths that the task must be able to read, including the folder itself and its dependency layer. */
  readonly readable: readonly string[];
}
