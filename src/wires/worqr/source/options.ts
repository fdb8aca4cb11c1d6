import type { ExecAssets } from '../../../task/exec-assets.js';
import type { WorqrData } from './lease.js';

export interface WorqrSourceOptions {
  // generated from worqrSource by `npm run generate`
  /** Redis of the queues: `redis://`, `rediss://` or `redis+sentinel://host,host/primary`, with user, password and database number where needed. */
  readonly url: string;
  /** Prefix of all worqr keys (its `redisKeyPrefix`). Default: `worqr`. */
  readonly prefix?: string;
  /** Task code by queue: a folder, or an `execAssets` object. */
  readonly tasks: Readonly<Record<string, string | ExecAssets>>;
  /** Name of the source; a Worker with several worqr sources needs a distinct one for each. Default: `worqr`. */
  readonly name?: string;
  /** `json` parses a task that is a JSON object or array and keeps other text as it is; `text` always keeps the text. Default: `json`. */
  readonly data?: WorqrData;
  /** How many runs of a worqr task may fail or crash before it is finished with its error. Default: 3. */
  readonly attempts?: number;
  /** Delay after the first failed run; doubles with each further one. Default: 1,000 ms. */
  readonly backoffMs?: number;
  /** Time limit of one run; 0 is none. Default: none. */
  readonly timeoutMs?: number;
  /** Time since its last beat after which peers consider this Worker dead. Default: 3,000 ms. */
  readonly workerTimeoutMs?: number;
  /** Interval of the check for dead workers. Default: 10,000 ms. */
  readonly sweepMs?: number;
  /** Polling interval of an idle Worker. Default: 10,000 ms. */
  readonly pollMs?: number;
  // end
}

/** Where the queues are. */
export type WorqrPlace = Pick<WorqrSourceOptions, 'url' | 'prefix'>;
