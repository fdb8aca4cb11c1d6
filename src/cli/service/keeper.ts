import type { KeeperKind } from '../option-table.js';

/** Delay before the second signal of `stop --now`, long enough for the two not to count as one. */
export const SECOND_SIGNAL_MS = 150;

/** Everything a keeper needs to run one Worker. All paths are absolute. */
export interface ServicePlan {
  /** Service name, unique on the machine or for the user. */
  readonly name: string;
  readonly home: string;
  /** Where `start-bg` was run: the Worker's working directory. */
  readonly folder: string;
  /** The `.env` that the Worker reads. */
  readonly dotenv: string;
  /** The user to run it as, if the keeper has a choice: the owner of `.env`. */
  readonly user?: { readonly uid: number; readonly gid: number };
  /** The complete environment of the Worker. */
  readonly env: Readonly<Record<string, string>>;
  /** How long running jobs may continue after a stop, in milliseconds. */
  readonly drainMs: number;
}

/** Current state of a service. */
export interface KeeperState {
  readonly running: boolean;
  /** The Worker's own process. */
  readonly pid?: number;
  /** Number of automatic restarts since it was installed or started. */
  readonly restarts?: number;
  /** The keeper's own description, such as `active (running)`. */
  readonly detail: string;
}

/**
 * Keeps a Worker running: systemd, launchd, or a supervisor of our own if there is neither. All methods reject with
 * `service-failed` if the keeper refuses.
 */
export interface Keeper {
  readonly kind: KeeperKind;
  /** Description for people, as part of a sentence. */
  readonly description: string;
  /** Installs (or updates) and starts (or restarts) the service. Resolves with notes: what else the owner should know or do. */
  install(plan: ServicePlan): Promise<readonly string[]>;
  state(): Promise<KeeperState>;
  /** Prints the log. Ends when the signal aborts, or without `follow` after the last line. */
  logs(options: { readonly lines: number; readonly follow: boolean; readonly signal: AbortSignal }): Promise<void>;
  /** `now`: running jobs are given back instead of finished. */
  restart(options: { readonly now: boolean }): Promise<void>;
  stop(options: { readonly now: boolean }): Promise<void>;
  /** Stops the service and removes everything that `install` created. */
  uninstall(): Promise<void>;
}
