import type { Clock } from '../clock.js';
import type { OwnerNetwork } from '../egress/policy.js';
import type { PeerworkError } from '../errors.js';
import type { Outcome } from '../job/job.js';
import type { Log, LogLevel } from '../log.js';
import type { RunnerSetup } from '../runners/setup.js';
import type { SourceSetup } from '../sources/setup.js';
import type { PeerFacts } from '../swarm/peer.js';
import type { Synced } from '../task/workplace.js';

export interface WorkerOptions {
  /** The `pw1.` token of the Master; not needed if there are other sources. */
  readonly token?: string;
  /** Other places to take jobs from, beside the Master or instead of it: they share the Worker's places fairly. */
  readonly sources?: readonly SourceSetup[];
  /** Other ways to run jobs than task modules. */
  readonly runners?: readonly RunnerSetup[];
  /** An extra AES secret of 32 characters that Master and Workers must share. */
  readonly transferEncryptToken?: string;
  /** What the Master calls this worker; default: the machine's name. */
  readonly name?: string;
  readonly loglevel?: LogLevel;
  /** How many jobs run at once; default: the number of cores. */
  readonly concurrency?: number;
  /** Memory of one job in MB; default 512. */
  readonly memoryMb?: number;
  /** May dependencies run install scripts? Default false. */
  readonly allowInstallScripts?: boolean;
  /** Scopes (`@name`) of private registries: npm may use the registry and the credentials that the owner's npm settings have for them. Default none. */
  readonly npmCredentials?: readonly string[];
  /**
   * What jobs may reach at most: `none`, `internet` (default), or hosts, which may be in the own network; with `internet` among them, both. Less than
   * `internet` needs bubblewrap.
   */
  readonly taskNetwork?: OwnerNetwork;
  /** The stronger sandbox: used where it works (`auto`, default), demanded, or never used. */
  readonly sandbox?: 'auto' | 'required' | 'off';
  /** Where keys, outbox and files of tasks live; default `.peerwork` in the working directory. */
  readonly home?: string;
  /** How much disk the files of tasks may take, in MB; default 2048. */
  readonly storeQuotaMb?: number;
  readonly trackers?: readonly string[];
  /** STUN and TURN servers, as URLs. */
  readonly ice?: readonly string[];
  /** How long `drain` lets running jobs go on before it gives them back, in milliseconds; default 60 000. */
  readonly drainMs?: number;
  /** Path of `bwrap`; default: the one in PATH or the system's folders. */
  readonly bubblewrap?: string;
  /** What jobs may require, such as `gpu`; `os=…`, `arch=…` and `isolation=…` are there by themselves, and only so. */
  readonly labels?: readonly string[];
  readonly log?: Log;
  readonly clock?: Clock;
}

export interface WorkerEvents {
  /** Joined a Master. */
  connected: [master: { readonly id: string; readonly name: string; readonly path: PeerFacts['path']; readonly connectMs: number }];
  disconnected: [reason: PeerworkError];
  /** Something is wrong but the worker goes on: which step of connecting failed, and why. */
  trouble: [error: PeerworkError, source: string];
  job: [job: { readonly id: string; readonly channel: string; readonly attempt: number; readonly source: string }];
  result: [
    result: { readonly id: string; readonly source: string; readonly state: Outcome['state']; readonly code?: string; readonly ms: number },
  ];
  /** The files of a task arrived. */
  synced: [synced: Synced];
  /** The worker cannot go on. */
  error: [error: PeerworkError];
}

export interface WorkerStatus {
  readonly name: string;
  /** Undefined while no Master is there. */
  readonly master: { readonly name: string; readonly path: PeerFacts['path']; readonly roundTripMs: number | undefined } | undefined;
  /** The names of those that it serves, the Master first. */
  readonly sources: readonly string[];
  /** The ways in which it can run jobs; none until it has started. */
  readonly runners: readonly { readonly kind: string; readonly isolation: string }[];
  readonly running: number;
  readonly concurrency: number;
  readonly completed: number;
  readonly failed: number;
  readonly released: number;
  /** Outcomes that their sources have not acknowledged yet. */
  readonly outbox: number;
  /** How task modules are kept away from the rest of the machine. */
  readonly isolation: string;
  /** Bytes over the present link. */
  readonly traffic: { readonly sent: number; readonly received: number };
}
