import type { IncomingMessage } from 'node:http';
import type { Clock } from '../clock.js';
import type { ErrorCode, PeerworkError } from '../errors.js';
import type { ChildBounds } from '../job/child-bounds.js';
import type { Json, Progress, SettledJob } from '../job/job.js';
import type { Retention } from '../ledger/ledger.js';
import type { Log, LogLevel } from '../log.js';
import type { PeerFacts } from '../swarm/peer.js';
import type { CrewOptions } from './crew/context.js';
import type { Published, TaskSource } from './open-tasks.js';
import type { LegacyQueueXecOptions } from './queue-xec/legacy-room.js';
import type { WorkerGreeting } from './worker-session.js';

export const DEFAULT_LEDGER = 'sqlite:.peerwork/ledger.db';

export interface MasterOptions {
  /** A token made earlier; must belong to the key file. Made from the key file when missing. */
  readonly token?: string;
  /** A folder with a task, queue-xec's `execAssets`, or several of them by channel. */
  readonly task?: TaskSource | Readonly<Record<string, TaskSource>>;
  /** As in queue-xec: the same as `task`. */
  readonly execAssets?: TaskSource;
  /** `sqlite:FILE`, `postgres://…` or `memory:`; default `sqlite:.peerwork/ledger.db`. */
  readonly ledger?: string;
  /** With the ledger behind a pooler: the address of its Postgres itself, where Masters hear of each other at once. Default: they look every second. */
  readonly ledgerListen?: string;
  /**
   * Where the Master's private key lives; default: beside the ledger, `.peerwork/master.key` for Postgres, nowhere for `memory:`. Masters that
   * share a ledger share the key file.
   */
  readonly keyFile?: string;
  readonly name?: string;
  readonly trackers?: readonly string[];
  /** STUN and TURN servers, as URLs. */
  readonly ice?: readonly string[];
  /** An extra AES secret of 32 characters that Master and Workers must share. */
  readonly transferEncryptToken?: string;
  /** How long a worker may be silent before its jobs go to others, in milliseconds; default 30 000. */
  readonly leaseMs?: number;
  /** Publish changes of the task folder while running; default true. */
  readonly watch?: boolean;
  /** Scopes (`@name`) whose registry and credentials in the owner's npm settings are used when a lockfile is made. Default none. */
  readonly npmCredentials?: readonly string[];
  /** How long ended jobs are kept; default: for ever. */
  readonly retention?: Retention;
  /** Addresses that jobs may reach through the link, `host:port` by the name that their task.json says: docs/tunnel.md. Default: none. */
  readonly tunnels?: Readonly<Record<string, string>>;
  /**
   * Where children of a channel's jobs may go, beside their own channel and what its task.json declares; for channels whose workers come over HTTP
   * it is the only place. Default: nowhere else.
   */
  readonly children?: Readonly<Record<string, ChildBounds>>;
  /** Where API, dashboard and crew clients are served; default: nowhere. `express()` and `fastify()` serve them in your own server. */
  readonly http?: HttpOptions;
  /** Workers of queue-xec 2 that are given jobs too; default: none. Weaker protected than ours: docs/sources/queue-xec.md. */
  readonly legacyQueueXec?: LegacyQueueXecOptions;
  /** Whether an unknown worker may work at once (default), or when it was approved. */
  readonly approval?: 'auto' | 'manual';
  /** Decides who may work: a code of the error table refuses. */
  readonly admit?: (id: string, name: string) => ErrorCode | undefined;
  /** As in queue-xec: called with each result. */
  readonly onResults?: (result: QueueXecResult) => void;
  readonly loglevel?: LogLevel;
  readonly log?: Log;
  readonly clock?: Clock;
}

export interface HttpOptions {
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** Default 8470; 0 takes a free one. */
  readonly port?: number;
  /** Takes a free port if that one is in use; default false. */
  readonly fallBack?: boolean;
  /** Each `scope:token`, with the scope `read`, `lease`, `work` or `admin`. None: only this machine is served, and may do everything. */
  readonly tokens?: readonly string[];
  /** How crew clients are served, under `/crew` unless it says otherwise; false: not at all. */
  readonly crew?: CrewOptions | false;
}

export type HttpScope = 'read' | 'lease' | 'work' | 'admin';

/** Of the API in a server of your own. */
export interface EmbedOptions {
  /** As in HttpOptions. */
  readonly tokens?: readonly string[];
  readonly crew?: CrewOptions | false;
  /** Which scopes a request has, by the rules of your app; none refuses it. Instead of tokens. */
  readonly authorize?: (request: IncomingMessage) => readonly HttpScope[] | Promise<readonly HttpScope[]>;
  /**
   * With `authorize`: whose worker sends the request, so that a lease is its alone. Default: whoever shows the same bearer token; needed where that changes
   * with time, or where there is none.
   */
  readonly identify?: (request: IncomingMessage) => string | undefined;
}

/** What queue-xec's `onResults` is given, and how the job ended. */
export interface QueueXecResult extends SettledJob {
  readonly jobID: string;
  readonly data: Json | undefined;
}

export interface ConnectedWorker extends Partial<WorkerGreeting> {
  readonly id: string;
  readonly name: string;
  readonly path: PeerFacts['path'];
  readonly connectMs: number;
  readonly connectedAt: number;
  readonly running: number;
  readonly roundTripMs: number | undefined;
  /** Bytes as the Master sees them. */
  readonly traffic: { readonly sent: number; readonly received: number };
}

export interface MasterEvents {
  connected: [worker: ConnectedWorker];
  disconnected: [worker: ConnectedWorker, reason: PeerworkError];
  settled: [job: SettledJob];
  progress: [report: { readonly id: string; readonly worker: string; readonly progress: Progress }];
  published: [task: Published];
  /** Something is wrong but the Master goes on: a tracker is away, a peer was refused. */
  trouble: [error: PeerworkError];
  error: [error: PeerworkError];
}
