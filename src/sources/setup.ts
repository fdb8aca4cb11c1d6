import type { Clock } from '../clock.js';
import type { PeerworkError } from '../errors.js';
import type { Source, TaskOrigin } from '../job/source.js';
import type { Log } from '../log.js';
import type { ExecAssets } from '../task/exec-assets.js';
import type { Outbox } from './outbox.js';

/** A source as it is passed to a Worker, which opens it when it starts. */
export interface SourceSetup {
  /** Unique within a Worker, such as `worqr`; names its folder and appears in its log lines. 1 to 40 of `a-z 0-9 -`. */
  readonly name: string;
  /** Kinds of runners that it cannot work without: it is opened when each has joined, or is known to be missing. */
  readonly needs?: readonly string[];
  /** Rejects if it can never work with these settings; temporary problems (an unreachable server) are the source's own business. */
  open(context: SourceContext): Promise<Source>;
}

/** A source's access to the Worker that it serves. */
export interface SourceContext {
  /** The Worker's name. */
  readonly worker: string;
  /** How many jobs run at once, over all sources. */
  readonly concurrency: number;
  /** The kinds of jobs that the Worker can run so far. Others may join later. */
  readonly runners: readonly string[];
  /** Resolves when the Worker can run jobs of that kind, however late; never if it never can. */
  runnerJoined(kind: string): Promise<void>;
  /** A folder for this source alone. */
  readonly folder: string;
  readonly clock: Clock;
  /** Its lines carry the source's name. */
  readonly log: Log;
  /** The source's own outbox, in its folder; the source closes it. */
  openOutbox(): Promise<Outbox>;
  /** Code on this machine, signed by the Worker for itself; file changes are followed. Rejects with `task-…`. */
  localTask(channel: string, source: string | ExecAssets): Promise<LocalTask>;
  /** Something is wrong, but the source goes on. */
  warning(error: PeerworkError): void;
}

export interface LocalTask {
  /** The lease fields of a job for this code, in its current version. */
  lease(): { readonly task: TaskOrigin; readonly runner: string };
  /** It is no longer used: its files can be deleted. Closing the Worker does the same. */
  close(): Promise<void>;
}
