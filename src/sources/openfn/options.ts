import type { KeyObject } from 'node:crypto';
import { PeerworkError } from '../../errors.js';
import { readPublicKey } from './tokens.js';
import { readWorkloops, type Workloop } from './workloops.js';

/** What there is to say about a Lightning server and how to work for it. Only the address is needed, and the secret of all but mock servers. */
export interface OpenfnSourceOptions {
  /** Such as `ws://localhost:4000/worker`; `/websocket` is added. */
  readonly url: string;
  /** The server's WORKER_SECRET. */
  readonly secret?: string;
  /** The server's public key as base64 of a PEM: run tokens are then verified. */
  readonly publicKey?: string;
  /** What the server shows beside its runs; default: nothing. */
  readonly workerName?: string;
  /** How many runs at once; default: as many as the Worker runs. */
  readonly capacity?: number;
  /** Instead of `capacity`: which queues in which order, with how many runs at once: `manual>*:5`, or several separated by blanks. */
  readonly workloops?: string;
  /** How long to wait after a claim that brought nothing: from the first, by 1.15 times, up to the last. Default 1 000 and 10 000 ms. */
  readonly backoffMs?: readonly [first: number, last: number];
  /** Log lines travel together: until so many wait, or for so long. Default: each alone. */
  readonly batchLogs?: { readonly lines?: number; readonly waitMs?: number };
  /** How long an answer may take, default 30 000 ms; to a claim, default 60 000 ms. */
  readonly messageMs?: number;
  readonly claimMs?: number;
  /** For runs that do not say: a step's state (default 10 MB) and a log line (1 MB). */
  readonly payloadLimitMb?: number;
  readonly logLimitMb?: number;
  /** The last state is sent even if the server wants no states, as OpenFn's own worker does. Default true. */
  readonly sendFinalState?: boolean;
  /** For job code that uses collections: the server's address for them, and the version of their adaptor. */
  readonly collections?: { readonly url: string; readonly version: string };
  /** Where `/livez` and `/claim` are served; default: nowhere. On all addresses unless a host is named. */
  readonly port?: number;
  readonly host?: string;
}

/** The same, checked and complete. */
export interface SourceSettings extends Required<Pick<OpenfnSourceOptions, 'messageMs' | 'claimMs' | 'payloadLimitMb' | 'logLimitMb'>> {
  readonly url: string;
  readonly secret: string;
  readonly publicKey: KeyObject | undefined;
  readonly workerName: string | null;
  readonly capacity: number | undefined;
  readonly workloops: readonly Workloop[] | undefined;
  readonly backoffMs: readonly [first: number, last: number];
  readonly batchLogs: { readonly lines: number; readonly waitMs: number } | undefined;
  readonly sendFinalState: boolean;
  readonly collections: OpenfnSourceOptions['collections'];
}

/** Throws `openfn-invalid`. */
export function readSettings(options: OpenfnSourceOptions): SourceSettings {
  const { url, secret = '', publicKey, workerName, workloops, backoffMs = [1_000, 10_000], batchLogs } = options;
  if (!/^wss?:\/\//.test(url) || !URL.canParse(url))
    throw new PeerworkError('openfn-invalid', 'its address must begin with ws:// or wss://');
  if (options.capacity !== undefined && workloops !== undefined)
    throw new PeerworkError('openfn-invalid', 'of capacity and workloops only one can be set');
  const key = publicKey === undefined ? undefined : readPublicKey(publicKey);
  if (publicKey !== undefined && key === undefined)
    throw new PeerworkError('openfn-invalid', 'its public key must be an RSA key as base64 of a PEM');
  return {
    url: url.replace(/\/+$/, ''),
    secret,
    publicKey: key,
    workerName: workerName || null,
    capacity: options.capacity,
    workloops: workloops === undefined ? undefined : readWorkloops(workloops),
    backoffMs,
    batchLogs: batchLogs && { lines: batchLogs.lines ?? 50, waitMs: batchLogs.waitMs ?? 10 },
    messageMs: options.messageMs ?? 30_000,
    claimMs: options.claimMs ?? 60_000,
    payloadLimitMb: options.payloadLimitMb ?? 10,
    logLimitMb: options.logLimitMb ?? 1,
    sendFinalState: options.sendFinalState ?? true,
    collections: options.collections,
  };
}
