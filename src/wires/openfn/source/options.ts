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

/** Options of the source for a Lightning server. Only the URL is required, and the secret except for mock servers. */
export interface OpenfnSourceOptions {
  /** Such as `ws://localhost:4000/worker`; `/websocket` is appended. */
  readonly url: string;
  /** The server's WORKER_SECRET. */
  readonly secret?: string;
  /** The server's public key, as base64 of a PEM; if set, run tokens are verified. */
  readonly publicKey?: string;
  /** Name that the server shows with runs of this worker; default none. */
  readonly workerName?: string;
  /** Limit for concurrent runs; default: the Worker's concurrency. */
  readonly capacity?: number;
  /**
   * Replaces `capacity`: queues in order of preference with their limit for concurrent runs, such as `manual>*:5`, in groups separated by
   * blanks.
   */
  readonly workloops?: string;
  /** First and longest wait after a claim without runs, in ms; grows by a factor of 1.15. Default 1000 and 10,000. */
  readonly backoffMs?: readonly [first: number, last: number];
  /** Batches log lines until there are `lines`, or for `waitMs`. Default: each line is sent alone. */
  readonly batchLogs?: { readonly lines?: number; readonly waitMs?: number };
  /** Timeout of a reply in ms, default 30,000; of a reply to a claim, default 60,000. */
  readonly messageMs?: number;
  readonly claimMs?: number;
  /**
   * Limits for runs that set none, in MB: for a step's state (default 10), and for a log line (default 1, and never more than the run's
   * limit for a state).
   */
  readonly payloadLimitMb?: number;
  readonly logLimitMb?: number;
  /** Whether to send the final state even if the server wants no states, as OpenFn's own worker does; default true. */
  readonly sendFinalState?: boolean;
  /** Collections for job code: the URL of the server's API for them, and the version of their adaptor. */
  readonly collections?: { readonly url: string; readonly version: string };
  /** Port for `/livez` and `/claim`; default: not served. Listens on all addresses unless a host is given. */
  readonly port?: number;
  readonly host?: string;
}

/** Validated options with defaults applied. */
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

/** Some of the server's queues in order of preference, and the limit for their concurrent runs. */
export interface Workloop {
  readonly queues: readonly string[];
  readonly capacity: number;
}

/**
 * Parses OpenFn's notation: groups separated by blanks, each `queue>queue>*:capacity`; `*`, any other queue, is allowed only at the end.
 * Throws `openfn-invalid`.
 */
export function readWorkloops(text: string): readonly Workloop[] {
  const groups = text.trim().split(/\s+/);
  return groups.map((group) => {
    const [, names = '', capacity = ''] = /^((?:\w+>)*(?:\w+|\*)):([1-9]\d{0,5})$/.exec(group) ?? [];
    if (capacity === '') throw new LightningError('openfn-invalid', `${JSON.stringify(group)} is no workloop such as manual>*:5`);
    return { queues: names.split('>'), capacity: Number(capacity) };
  });
}
