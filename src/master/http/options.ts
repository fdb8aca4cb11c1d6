import type { IncomingMessage } from 'node:http';
import type { CrewOptions } from '../crew/context.js';
import type { Desk } from '../desk.js';
import type { Scope } from './auth.js';

export interface ApiOptions {
  readonly desk: Desk;
  /** Each `scope:token`; a token that stands there several times has all those scopes. */
  readonly tokens?: readonly string[];
  /** In a host app with its own auth: which scopes the request has; none refuses it. Instead of `tokens`. */
  readonly authorize?: (request: IncomingMessage) => readonly Scope[] | Promise<readonly Scope[]>;
  /** With `authorize`: whose worker sends the request. Default: whoever shows the same bearer token. */
  readonly identify?: (request: IncomingMessage) => string | undefined;
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
  /** crew clients are served too; absent: they are not. */
  readonly crew?: CrewOptions;
  /** Leases that ended without a word of their worker, for the metrics. */
  readonly leasesExpired?: () => number;
}
