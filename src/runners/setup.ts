import type { Clock } from '../clock.js';
import type { OwnerNetwork } from '../egress/policy.js';
import type { Runner } from '../job/runner.js';
import type { Log } from '../log.js';
import type { NpmOptions } from '../task/npm.js';

/** A way to run jobs as it is passed to a Worker, which opens it when it starts. */
export interface RunnerSetup {
  readonly kind: string;
  /** A Worker that cannot have it does not start. Default: it works without it and logs the reason. */
  readonly required?: boolean;
  /** Rejects if this machine cannot do it. */
  open(context: RunnerContext): Promise<Runner>;
}

/** A runner's access to its Worker. */
export interface RunnerContext {
  /** The Worker's name. */
  readonly worker: string;
  /** How many jobs run at once, over all runners. */
  readonly concurrency: number;
  /** Memory of one job, in MiB. */
  readonly memoryMb: number;
  /** The sandbox for npm, for runners that install what is missing. Default: this machine's sandbox, no credentials. */
  readonly npm?: NpmOptions;
  /** The most that the owner lets jobs reach; default `internet`. */
  readonly network?: OwnerNetwork;
  /** A folder for this runner alone; files of an earlier process are still in it. */
  readonly folder: string;
  readonly clock: Clock;
  /** Its lines carry the runner's kind. */
  readonly log: Log;
}
