import type { KeeperKind } from '../option-table.js';

/** Everything a keeper must know to run one Worker. All paths are absolute. */
export interface ServicePlan {
  /** Of the service; unique on the machine, or for the user. */
  readonly name: string;
  readonly home: string;
  /** Where `start-bg` was run: the Worker's working directory. */
  readonly folder: string;
  /** The `.env` that the Worker reads. */
  readonly dotenv: string;
  /** Who shall run it, where the keeper may choose: the owner of `.env`. */
  readonly user?: { readonly uid: number; readonly gid: number };
  /** All of the environment that the Worker gets. */
  readonly env: Readonly<Record<string, string>>;
  /** How long running jobs may go on when it is told to stop. */
  readonly drainMs: number;
}

export interface KeeperState {
  readonly running: boolean;
  /** The Worker's own process. */
  readonly pid?: number;
  /** How often it was started anew since it was installed or told to start. */
  readonly restarts?: number;
  /** In the keeper's words, such as `active (running)`. */
  readonly detail: string;
}

/**
 * What keeps a Worker running: systemd, launchd, or a supervisor of our own where there is neither. All methods reject with
 * `service-failed` if the keeper refuses.
 */
export interface Keeper {
  readonly kind: KeeperKind;
  /** In a sentence, for people. */
  readonly description: string;
  /** Installs (or renews) and starts (or restarts). Answers what the owner should know or do besides. */
  install(plan: ServicePlan): Promise<readonly string[]>;
  state(): Promise<KeeperState>;
  /** Ends when the signal aborts, or without `follow` at the last line. */
  logs(options: { readonly lines: number; readonly follow: boolean; readonly signal: AbortSignal }): Promise<void>;
  /** `now`: what runs is given back. */
  restart(options: { readonly now: boolean }): Promise<void>;
  stop(options: { readonly now: boolean }): Promise<void>;
  /** Stops and removes all that `install` made. */
  uninstall(): Promise<void>;
}
