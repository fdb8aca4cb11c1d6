import type { Clock } from '../clock.js';
import { isReservedLabel } from '../config/worker.js';
import type { OwnerNetwork } from '../egress/policy.js';
import { PeerworkError } from '../errors.js';
import type { Outcome } from '../job/job.js';
import { omitNull, type WithoutNull } from '../kit/omit.js';
import type { Log, LogLevel } from '../log.js';
import type { RunnerSetup } from '../runners/setup.js';
import type { SourceSetup } from '../sources/setup.js';
import type { PeerFacts } from '../swarm/peer.js';
import type { Synced } from '../task/workplace.js';

export interface WorkerOptions {
  // generated from workerConstructor by `npm run generate`
  /** The Master's token. Required unless there are other `sources`. Default: without `sources`: `token` of the environment. */
  readonly token?: string | null;
  /** Other queues to take jobs from, in addition to the Master or instead of it. They share the slots fairly. Default: none. */
  readonly sources?: readonly SourceSetup[];
  /** Other ways to run jobs than task modules, such as `containerRunner()` and `crawlRunner()`. Default: none. */
  readonly runners?: readonly RunnerSetup[];
  /** Additional AES secret of 32 characters, shared by the Master and its Workers. Null is none. Default: none. */
  readonly transferEncryptToken?: string | null;
  /** Name of this machine in lists and results. Default: the host name. */
  readonly name?: string;
  /** Number of jobs to run at once. Default: one per processor core. */
  readonly concurrency?: number;
  /** Memory limit of one job; a job that exceeds it is stopped. Default: 512 MiB. */
  readonly memoryMb?: number;
  /**
   * Allow npm dependencies of tasks to run install scripts. With bubblewrap they run in a sandbox that can reach only the registry; without it
   * they run with this user’s permissions. Default: `false`.
   */
  readonly allowInstallScripts?: boolean;
  /**
   * Private npm scopes that tasks may depend on: npm then uses the registry and credentials in this user's .npmrc for these scopes. Default:
   * none.
   */
  readonly npmCredentials?: readonly string[];
  /**
   * Labels that jobs may require, such as `gpu`; labels such as `os=linux`, `arch=arm64` and `isolation=bwrap` are set automatically. Default:
   * none.
   */
  readonly labels?: readonly string[];
  /**
   * Network that jobs may reach: `'none'`; `'internet'`, which means public addresses only; or a list of hosts, which may be in your own network
   * (policy). Anything less than `'internet'` needs the stronger sandbox. Default: `internet`.
   */
  readonly taskNetwork?: OwnerNetwork;
  /** Use of the stronger sandbox, bubblewrap: `auto` where it works, `required` (no job runs without it), or `off`. Default: `auto`. */
  readonly sandbox?: 'auto' | 'required' | 'off';
  /** Path of bubblewrap, if it is not on the PATH. Default: `bwrap` on the PATH. */
  readonly bubblewrap?: string;
  /** Folder for the worker’s key, fetched files, dependencies and unsent results. Several workers may share it. Default: `.peerwork`. */
  readonly home?: string;
  /** Disk quota for fetched task files; the least recently used are removed first. Default: 2,048 MiB. */
  readonly storeQuotaMb?: number;
  /** Disk quota for files of jobs; the least recently used are removed first. Default: 10,240 MiB. */
  readonly fileQuotaMb?: number;
  /**
   * Trackers used for rendezvous. The Master writes its own into the token, so Workers need not set any. Default: from the token, else public
   * trackers.
   */
  readonly trackers?: readonly string[];
  /**
   * STUN and TURN servers: `stun:host:port`, `turn:user:password@host:port?transport=udp|tcp`, `turns:user:password@host:port`. `[]` for none.
   * Default: from the token, else public STUN.
   */
  readonly ice?: readonly string[];
  /** How long `drain` lets running jobs continue before it gives them back. Default: 60,000 ms. */
  readonly drainMs?: number;
  /** Log verbosity: `off`, `error`, `warn`, `info`, `debug`. Lines go to stderr. Default: `warn`. */
  readonly loglevel?: LogLevel;
  /** A log of your own: `error`, `warn`, `info`, `debug`, `with(fields)`. Default: stderr. */
  readonly log?: Log;
  /** Source of time, for tests. Default: the system's. */
  readonly clock?: Clock;
  // end
}

export interface WorkerEvents {
  /** The Worker joined a Master. */
  connected: [master: { readonly id: string; readonly name: string; readonly path: PeerFacts['path']; readonly connectMs: number }];
  disconnected: [reason: PeerworkError];
  /** Something is wrong but the worker continues: which step of connecting failed, and why. */
  warning: [error: PeerworkError, source: string];
  job: [job: { readonly id: string; readonly channel: string; readonly attempt: number; readonly source: string }];
  result: [
    result: { readonly id: string; readonly source: string; readonly state: Outcome['state']; readonly code?: string; readonly ms: number },
  ];
  /** The files of a task have arrived. */
  synced: [synced: Synced];
  /** The worker cannot continue. */
  error: [error: PeerworkError];
}

export interface WorkerStatus {
  readonly name: string;
  /** The Master; undefined while not connected. */
  readonly master: { readonly name: string; readonly path: PeerFacts['path']; readonly roundTripMs: number | undefined } | undefined;
  /** Names of the sources that it serves, the Master first. */
  readonly sources: readonly string[];
  /** Runners that are ready; none until it has started. */
  readonly runners: readonly { readonly kind: string; readonly isolation: string }[];
  readonly running: number;
  readonly concurrency: number;
  readonly completed: number;
  readonly failed: number;
  readonly released: number;
  /** Number of outcomes that their sources have not acknowledged yet. */
  readonly outbox: number;
  /** How task modules are isolated from the rest of the machine. */
  readonly isolation: string;
  /** Bytes over the current link. */
  readonly traffic: { readonly sent: number; readonly received: number };
}

/** Resolves options like `statedOptions`. Throws `token-missing` if there is neither a token nor a source, or `label-reserved`. */
export function resolveOptions(options: string | WorkerOptions): WithoutNull<WorkerOptions> {
  const resolved = statedOptions(options);
  const { token, sources = [], labels = [] } = resolved;
  const reserved = labels.find(isReservedLabel);
  if (reserved !== undefined) throw new PeerworkError('label-reserved', reserved);
  if (!token && sources.length === 0) throw new PeerworkError('token-missing');
  return resolved;
}

/**
 * Normalises a program's options: null means unset; without a token and other sources, `token` and `transferEncryptToken` come from
 * the environment.
 */
export function statedOptions<T extends WorkerOptions>(given: string | T): WithoutNull<WorkerOptions> & Partial<WithoutNull<T>> {
  const options: WithoutNull<WorkerOptions> & Partial<WithoutNull<T>> = omitNull<WorkerOptions>(
    typeof given === 'string' ? { token: given } : given,
  ) as WithoutNull<WorkerOptions> & Partial<WithoutNull<T>>;
  const { token, transferEncryptToken } = process.env;
  if (options.token || (options.sources ?? []).length > 0 || !token) return options;
  return { ...(transferEncryptToken && { transferEncryptToken }), ...options, token };
}
