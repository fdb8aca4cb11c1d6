import type { JobService } from '../job-service.js';
import type { ServerSetup } from '../server-setup.js';
import type { GateOptions } from './auth.js';

export interface ApiOptions extends GateOptions {
  readonly service: JobService;
  /** Folder with the dashboard's files; if undefined, only the API is served. */
  readonly dashboard?: string;
  /** Ledger engine reported by `/v1/status`; default `sqlite`. */
  readonly engine?: 'sqlite' | 'postgres';
  /** Requests per ten seconds for each token, or for each address without one; default 20,000. */
  readonly requestsPer10s?: number;
  /** Time for the body of a non-streaming request to arrive, in milliseconds; default 30,000. */
  readonly bodyTimeoutMs?: number;
  /** A stream of jobs ends after this much silence, in milliseconds; default 60,000. */
  readonly streamIdleMs?: number;
  /** Interval between heartbeats of an event stream, in milliseconds; default 15,000. */
  readonly heartbeatMs?: number;
  /** Foreign systems whose routes are served with the API; default: none. */
  readonly serve?: readonly ServerSetup[];
  /** Number of leases that expired because their worker went silent, for the metrics. */
  readonly leasesExpired?: () => number;
}
