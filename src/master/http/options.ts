import type { JobService } from '../job-service.js';
import type { ServerSetup } from '../server-setup.js';
import type { GateOptions } from './auth.js';

export interface ApiOptions extends GateOptions {
  readonly service: JobService;
  /** Folder with the dashboard's files; none: only the API is served. */
  readonly dashboard?: string;
  /** What the ledger is, as `/v1/status` tells it; default `sqlite`. */
  readonly engine?: 'sqlite' | 'postgres';
  /** How many requests a token, or without one an address, may send in ten seconds; default 20 000. */
  readonly requestsPer10s?: number;
  /** How long the body of a request that is no stream may take to arrive, in milliseconds; default 30 000. */
  readonly bodyTimeoutMs?: number;
  /** A stream of jobs that says nothing for so long is ended, in milliseconds; default 60 000. */
  readonly streamIdleMs?: number;
  /** Between two heartbeats of an event stream, in milliseconds; default 15 000. */
  readonly heartbeatMs?: number;
  /** Foreign systems whose routes are served with these; default: none. */
  readonly serve?: readonly ServerSetup[];
  /** Leases that ended without a word of their worker, for the metrics. */
  readonly leasesExpired?: () => number;
}
