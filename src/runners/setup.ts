import type { Clock } from '../clock.js';
import type { OwnerNetwork } from '../egress/policy.js';
import type { Runner } from '../job/runner.js';
import type { Log } from '../log.js';
import type { NpmOptions } from '../task/npm.js';

/** A way to run jobs as a Worker is given it: the Worker opens it when it starts. */
export interface RunnerSetup {
  readonly kind: string;
  /** A Worker that cannot have it does not start. Default: it works without it, and says why. */
  readonly required?: boolean;
  /** Rejects if this machine cannot do it. */
  open(context: RunnerContext): Promise<Runner>;
}

/** What a runner may use of the Worker that it works for. */
export interface RunnerContext {
  /** What the Worker is called. */
  readonly worker: string;
  /** How many jobs run at once, over all runners. */
  readonly concurrency: number;
  /** Of one job, in MiB. */
  readonly memoryMb: number;
  /** What npm runs in, for runners that install what is missing. Default: the wall that this machine has, no credentials. */
  readonly npm?: NpmOptions;
  /** What the owner lets jobs reach at most; default `internet`. */
  readonly network?: OwnerNetwork;
  /** A folder for this runner alone; what an earlier process left in it is still there. */
  readonly folder: string;
  readonly clock: Clock;
  /** Its lines carry the runner's kind. */
  readonly log: Log;
}
