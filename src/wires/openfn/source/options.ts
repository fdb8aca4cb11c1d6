import type { KeyObject } from 'node:crypto';
import {
  DEFAULT_BACKOFF_MS,
  DEFAULT_BATCH_LINES,
  DEFAULT_BATCH_WAIT_MS,
  DEFAULT_CLAIM_MS,
  DEFAULT_MESSAGE_MS,
  DEFAULT_PAYLOAD_LIMIT_MB,
  DEFAULT_SEND_FINAL_STATE,
} from '../defaults.js';
import { LightningError } from '../errors.js';
import { readPublicKey } from './tokens.js';

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
  /** For runs that do not say: a step's state (default 10 MB) and a log line (1 MB, and never more than the run's limit for a state). */
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
export interface SourceSettings extends Required<Pick<OpenfnSourceOptions, 'messageMs' | 'claimMs' | 'payloadLimitMb'>> {
  readonly url: string;
  readonly secret: string;
  readonly publicKey: KeyObject | undefined;
  readonly workerName: string | null;
  readonly capacity: number | undefined;
  readonly workloops: readonly Workloop[] | undefined;
  readonly backoffMs: readonly [first: number, last: number];
  readonly batchLogs: { readonly lines: number; readonly waitMs: number } | undefined;
  readonly sendFinalState: boolean;
  readonly logLimitMb: number | undefined;
  readonly collections: OpenfnSourceOptions['collections'];
}

/** Throws `openfn-invalid`. */
export function readSettings(options: OpenfnSourceOptions): SourceSettings {
  const { url, secret = '', publicKey, workerName, workloops, backoffMs = DEFAULT_BACKOFF_MS, batchLogs } = options;
  if (!/^wss?:\/\//.test(url) || !URL.canParse(url))
    throw new LightningError('openfn-invalid', 'its address must begin with ws:// or wss://');
  if (options.capacity !== undefined && workloops !== undefined)
    throw new LightningError('openfn-invalid', 'of capacity and workloops only one can be set');
  const key = publicKey === undefined ? undefined : readPublicKey(publicKey);
  if (publicKey !== undefined && key === undefined)
    throw new LightningError('openfn-invalid', 'its public key must be an RSA key as base64 of a PEM');
  return {
    url: url.replace(/\/+$/, ''),
    secret,
    publicKey: key,
    workerName: workerName || null,
    capacity: options.capacity,
    workloops: workloops === undefined ? undefined : readWorkloops(workloops),
    backoffMs,
    batchLogs: batchLogs && { lines: batchLogs.lines ?? DEFAULT_BATCH_LINES, waitMs: batchLogs.waitMs ?? DEFAULT_BATCH_WAIT_MS },
    messageMs: options.messageMs ?? DEFAULT_MESSAGE_MS,
    claimMs: options.claimMs ?? DEFAULT_CLAIM_MS,
    payloadLimitMb: options.payloadLimitMb ?? DEFAULT_PAYLOAD_LIMIT_MB,
    logLimitMb: options.logLimitMb,
    sendFinalState: options.sendFinalState ?? DEFAULT_SEND_FINAL_STATE,
    collections: options.collections,
  };
}

/** Some of the server's queues, in the order in which they are asked, and how many of their runs may go on at once. */
export interface Workloop {
  readonly queues: readonly string[];
  readonly capacity: number;
}

/** OpenFn's notation: groups separated by blanks, each `queue>queue>*:capacity`; `*`, any other queue, only at the end. Throws `openfn-invalid`. */
export function readWorkloops(text: string): readonly Workloop[] {
  const groups = text.trim().split(/\s+/);
  return groups.map((group) => {
    const [, names = '', capacity = ''] = /^((?:\w+>)*(?:\w+|\*)):([1-9]\d{0,5})$/.exec(group) ?? [];
    if (capacity === '') throw new LightningError('openfn-invalid', `${JSON.stringify(group)} is no workloop such as manual>*:5`);
    return { queues: names.split('>'), capacity: Number(capacity) };
  });
}
