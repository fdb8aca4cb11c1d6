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
  // generated from openfnSource by `npm run generate`
  /** The Lightning server, such as `ws://localhost:4000/worker`; `/websocket` is appended. */
  readonly url: string;
  /** Its WORKER_SECRET; only mock servers need none. Default: none. */
  readonly secret?: string;
  /** Public key of the Lightning server: if set, runs must be signed with it. Base64 of a PEM. Default: none, runs are not verified. */
  readonly publicKey?: string;
  /** Name of this worker as shown by the Lightning server. Default: none. */
  readonly workerName?: string;
  /** Number of runs from the Lightning server at once. Default: the Worker's `concurrency`. */
  readonly capacity?: number;
  /**
   * Queues in order of preference, with the number of runs at once, in groups separated by blanks. For example `manual>*:5`. Replaces
   * `capacity`. Default: `manual>*`, with the Worker's `concurrency`.
   */
  readonly workloops?: string;
  /** First and longest wait after a claim that returned no runs. It grows by a factor of 1.15. Default: 1,000 and 10,000 ms. */
  readonly backoffMs?: readonly [first: number, last: number];
  /**
   * Send log lines in batches of `lines` (50), or of those that arrive within `waitMs` (10); the server must support it. Default: each line is
   * sent alone.
   */
  readonly batchLogs?: { readonly lines?: number; readonly waitMs?: number };
  /** Timeout for a response of the server. Default: 30,000 ms. */
  readonly messageMs?: number;
  /** Timeout for a response to a claim. Default: 60,000 ms. */
  readonly claimMs?: number;
  /** Largest state sent to the server, for runs that set no limit. Default: 10 MB. */
  readonly payloadLimitMb?: number;
  /** Largest log line sent to the server, for runs that set no limit. Default: 1 MB, or the run’s limit for a state if that is less. */
  readonly logLimitMb?: number;
  /** Send the final state even if the server wants no states or it was too large, as OpenFn’s own worker does. Default: `true`. */
  readonly sendFinalState?: boolean;
  /** Collections for job code: the URL of the server's API for them, and the version of their adaptor. Default: none. */
  readonly collections?: { readonly url: string; readonly version: string };
  /** Port for `GET /livez` and `POST /claim`. Default: not served. */
  readonly port?: number;
  /** Address of that port. Default: all addresses. */
  readonly host?: string;
  // end
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
