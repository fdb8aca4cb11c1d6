import type { Clock } from '../clock.js';
import type { PeerworkError } from '../errors.js';
import type { Source, TaskOrigin } from '../job/source.js';
import type { Log } from '../log.js';
import type { ExecAssets } from '../task/exec-assets.js';
import type { Outbox } from './outbox.js';

/** A source as passed to a Worker, which opens it when it starts. */
export interface SourceSetup {
  /** Name, unique within a Worker, such as `worqr`. Used for its folder and in its log lines. 1 to 40 characters of `a-z 0-9 -`. */
  readonly name: string;
  /** Kinds of runners that it requires: it is opened once each of them has joined or is known to be missing. */
  readonly needs?: readonly string[];
  /**
   * Opens the source. Rejects only if it can never work with these settings; the source handles temporary problems (an unreachable server)
   * itself.
   */
  open(context: SourceContext): Promise<Source>;
}

/** What a source sees of the Worker that it serves. */
export interface SourceContext {
  /** The Worker's name. */
  readonly worker: string;
  /** Number of jobs that run at once, over all sources. */
  readonly concurrency: number;
  /** Kinds of jobs that the Worker can run so far. More may join later. */
  readonly runners: readonly string[];
  /** Resolves when the Worker can run jobs of that kind, however late; stays pending if it never can. */
  runnerJoined(kind: string): Promise<void>;
  /** Folder for this source alone. */
  readonly folder: string;
  readonly clock: Clock;
  /** Log whose lines carry the source's name. */
  readonly log: Log;
  /** Opens the source's own outbox in its folder. The source must close it. */
  openOutbox(): Promise<Outbox>;
  /** Prepares code on this machine, signed by the Worker for itself; follows file changes. Rejects with `task-…`. */
  localTask(channel: string, source: string | ExecAssets): Promise<LocalTask>;
  /** Reports a problem with which the source can go on. */
  warning(error: PeerworkError): void;
}

export interface LocalTask {
  /** Returns the lease fields of a job for this code, in its current version. */
  lease(): { readonly task: TaskOrigin; readonly runner: string };
  /** Called when the code is no longer used, so that its files can be deleted. Closing the Worker does the same. */
  close(): Promise<void>;
}
