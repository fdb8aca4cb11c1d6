import type { Clock } from '../clock.js';
import type { PeerworkError } from '../errors.js';
import type { Source, TaskOrigin } from '../job/source.js';
import type { Log } from '../log.js';
import type { ExecAssets } from '../task/exec-assets.js';
import type { Outbox } from './outbox.js';

/** A source as a Worker is given it: the Worker opens it when it starts. */
export interface SourceSetup {
  /** Unique within a Worker, such as `worqr`; names its folder and stands in its log lines. 1 to 40 of `a-z 0-9 -`. */
  readonly name: string;
  /** Kinds of runners that it has nothing to do without: it is opened when each has joined, or is known to be missing. */
  readonly needs?: readonly string[];
  /** Rejects if it can never work as it is set up; what may pass by itself (a server that is away) is the source's own business. */
  open(context: SourceContext): Promise<Source>;
}

/** What a source may use of the Worker that it serves. */
export interface SourceContext {
  /** What the Worker is called. */
  readonly worker: string;
  /** How many jobs run at once, over all sources. */
  readonly concurrency: number;
  /** The kinds of jobs that the Worker can run by now. Others may join later, except those that the source `needs`. */
  readonly runners: readonly string[];
  /** A folder for this source alone. */
  readonly folder: string;
  readonly clock: Clock;
  /** Its lines carry the source's name. */
  readonly log: Log;
  /** The source's own outbox, in its folder; the source closes it. */
  openOutbox(): Promise<Outbox>;
  /** Code that lies on this machine, signed by the Worker for itself; changes of the files are followed. Rejects with `task-…`. */
  localTask(channel: string, source: string | ExecAssets): Promise<LocalTask>;
  /** Something is wrong, but the source goes on. */
  trouble(error: PeerworkError): void;
}

export interface LocalTask {
  /** What a lease of a job for this code says, as the code stands now. */
  lease(): { readonly task: TaskOrigin; readonly runner: string };
  /** It is not used any more: its files need not be kept. Closing the Worker does the same. */
  close(): Promise<void>;
}
