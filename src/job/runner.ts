import type { Job, Outcome, Progress } from './job.js';
import type { Exchange, Tunnel } from './source.js';

/**
 * The wall between a job and the machine. `process`: limits and Node's permission model, no wall against malice; `bwrap`: bubblewrap; `container`:
 * docker or podman.
 */
export type IsolationTier = 'process' | 'bwrap' | 'container';

/**
 * The port to a way of executing jobs. A new way is one new file (or small folder) in `src/runners/`.
 */
export interface Runner {
  readonly kind: string;
  /** One line about how jobs are isolated from the machine, shown to the owner. */
  readonly isolation: string;
  /** The runner reports by `begin` when the time of a run begins; absent: the time begins when `run` is called. */
  readonly queues?: true;
  /** Absent: no isolation to rely on. */
  readonly tier?: IsolationTier;
  /** Runs one job to its end. Never rejects: every end is an outcome. */
  run(job: Job, context: RunContext): Promise<Outcome>;
  close(): Promise<void>;
}

export interface RunContext {
  /** The prepared folder; absent for runners that need no task code. */
  readonly workplace?: Workplace;
  /** Files of the job, read-only, by name: absolute paths on this machine; absent if it has none. */
  readonly files?: Readonly<Record<string, string>>;
  /** Aborted when the job is cancelled (with that error, if it is known), the lease is lost, or the worker stops at once. */
  readonly signal: AbortSignal;
  /** Absent: the job may reach nothing through its source. */
  readonly tunnel?: Tunnel;
  /** To the source that leased the job; absent: the source has none. */
  readonly exchange?: Exchange;
  /** Called when the time of the run begins, if the runner `queues`. */
  begin?(): void;
  report(progress: Progress): void;
}

/** A prepared folder: verified files, dependencies installed. Read-only for the task. */
export interface Workplace {
  /** The manifest's digest: two workplaces with the same digest are the same. */
  readonly digest: string;
  /** Absolute path of the folder with the task's files. */
  readonly folder: string;
  /** The entry, relative to the folder. */
  readonly entry: string;
  /** Absolute paths that the task must be able to read, the folder itself and its dependency layer included. */
  readonly readable: readonly string[];
}
