import type { IncomingMessage } from 'node:http';
import type { Clock } from '../clock.js';
import type { ErrorCode, PeerworkError } from '../errors.js';
import type { ChildBounds } from '../job/child-bounds.js';
import type { Json, Progress, SettledJob } from '../job/job.js';
import type { Retention } from '../ledger/ledger.js';
import type { Log, LogLevel } from '../log.js';
import type { ConnectedWorker } from './connected-worker.js';
import type { Published, TaskSource } from './open-tasks.js';
import type { ServerSetup } from './server-setup.js';

export interface MasterOptions {
  // generated from masterConstructor by `npm run generate`
  /** A folder with a task, an `execAssets` object, or an object of these by channel. Default: none. */
  readonly task?: TaskSource | Readonly<Record<string, TaskSource>>;
  /** Another name of `task`. Default: none. */
  readonly execAssets?: TaskSource;
  /**
   * Where the jobs are stored: `sqlite:FILE`, `postgres://…`, which several Masters may share, or `memory:`. Default:
   * `sqlite:.peerwork/ledger.db`.
   */
  readonly ledger?: string;
  /**
   * If the ledger is behind a connection pooler: direct address of its Postgres, through which Masters notify each other immediately. Default:
   * they poll every second.
   */
  readonly ledgerListen?: string;
  /**
   * Where the files of jobs are stored. Masters on one Postgres ledger need the same folder. Default: next to the ledger; for `memory:` a
   * temporary folder.
   */
  readonly files?: string;
  /**
   * The Master's private key. Masters that share a ledger share it. With `memory:` and no key file, each start makes a new key, and token.
   * Default: next to the ledger; `.peerwork/master.key` for Postgres.
   */
  readonly keyFile?: string;
  /** A token made earlier; it must belong to the key file. Default: made from the key file. */
  readonly token?: string | null;
  /** Name of this Master as Workers see it. Default: `master`. */
  readonly name?: string;
  /** Trackers used for rendezvous, written into the token. Default: public trackers. */
  readonly trackers?: readonly string[];
  /** STUN and TURN servers as URLs, written into the token. `[]` for none. Default: public STUN. */
  readonly ice?: readonly string[];
  /** Additional AES secret of 32 characters, shared by the Master and its Workers. Null is none. Default: none. */
  readonly transferEncryptToken?: string | null;
  /** How long a worker may stay silent before its jobs go to other workers. Default: 30,000 ms. */
  readonly leaseMs?: number;
  /** Publish the task again when a file in its folder changes. Default: `true`. */
  readonly watch?: boolean;
  /**
   * Private npm scopes that tasks may depend on: npm then uses the registry and credentials in this user's .npmrc for these scopes. Default:
   * none.
   */
  readonly npmCredentials?: readonly string[];
  /** How long ended jobs are kept: `{ completedMs, failedMs, cancelledMs }`, each optional. Default: forever. */
  readonly retention?: Retention;
  /** Addresses that jobs may reach through a tunnel: `host:port` by the name that their task.json declares. Default: none. */
  readonly tunnels?: Readonly<Record<string, string>>;
  /**
   * Where children of a channel's jobs may go, in addition to what its task.json declares: `{ crawl: { channels: ['page'] } }`. For channels
   * whose workers come over HTTP it is the only declaration. Default: none.
   */
  readonly children?: Readonly<Record<string, ChildBounds>>;
  /**
   * Address of the API, the dashboard and the routes of `serve`, as `HttpOptions`. `express()` and `fastify()` serve them in your own server.
   * Default: none.
   */
  readonly http?: HttpOptions;
  /** Foreign systems whose clients and workers are served too. Default: none. */
  readonly serve?: readonly ServerSetup[];
  /** Whether a new worker may start at once (`auto`) or must be approved first (`manual`). Default: `auto`. */
  readonly approval?: 'auto' | 'manual';
  /** Decides who may work: an error code such as `worker-revoked` refuses a Worker. Default: every Worker. */
  readonly admit?: (id: string, name: string) => ErrorCode | undefined;
  /** Called with each result. Default: none. */
  readonly onResults?: (result: PushResult) => void;
  /** Log verbosity: `off`, `error`, `warn`, `info`, `debug`. Lines go to stderr. Default: `warn`. */
  readonly loglevel?: LogLevel;
  /** A log of your own: `error`, `warn`, `info`, `debug`, `with(fields)`. Default: stderr. */
  readonly log?: Log;
  /** Source of time, for tests. Default: the system's. */
  readonly clock?: Clock;
  // end
}

export interface HttpOptions {
  // generated from httpConstructor by `npm run generate`
  /** Address to listen on. Default: `127.0.0.1`. */
  readonly host?: string;
  /** Port to listen on; 0 takes a free one. Default: 8470. */
  readonly port?: number;
  /** Take a free port if that one is in use. Default: `false`. */
  readonly fallBack?: boolean;
  /**
   * API tokens, each with its scope: `read:…`, `lease:…`, `work:…` or `admin:…`. Without any, only this machine has access, and may do
   * everything. Default: none.
   */
  readonly tokens?: readonly string[];
  /** Origins of other web pages that may use the API (CORS), such as `http://localhost:3001`. Default: only the dashboard’s own. */
  readonly origins?: readonly string[];
  // end
}

export type HttpScope = 'read' | 'lease' | 'work' | 'admin';

/** Options for the API in a server of your own. */
export interface EmbedOptions {
  /** As in HttpOptions. */
  readonly tokens?: readonly string[];
  /** As in HttpOptions. Omit it if your own server handles CORS. */
  readonly origins?: readonly string[];
  /** Foreign systems whose routes are served with the API; default: those of the Master's `serve`. */
  readonly serve?: readonly ServerSetup[];
  /** Returns the scopes of a request by the rules of your app; no scopes means it is refused. Replaces tokens. */
  readonly authorize?: (request: IncomingMessage) => readonly HttpScope[] | Promise<readonly HttpScope[]>;
  /**
   * With `authorize`: returns the worker that sends the request, which then owns its leases exclusively. Default: the bearer token
   * identifies the worker; set this if tokens change over time, or if there are none.
   */
  readonly identify?: (request: IncomingMessage) => string | undefined;
}

/** The argument of queue-xec's `onResults`, together with how the job ended. */
export interface PushResult extends Omit<SettledJob, 'worker'> {
  /** The `id` of the payload as it was pushed, any JSON; undefined if it had none. */
  readonly jobID: Json | undefined;
  /** The worker that ended the job; undefined if none did. */
  readonly worker: { readonly name: string } | undefined;
  /** Output of the task; undefined for a job that failed. */
  readonly data: Json | undefined;
}

export interface MasterEvents {
  connected: [worker: ConnectedWorker];
  disconnected: [worker: ConnectedWorker, reason: PeerworkError];
  settled: [job: SettledJob];
  progress: [report: { readonly id: string; readonly worker: string; readonly progress: Progress }];
  published: [task: Published];
  /** Something is wrong but the Master continues: a tracker is unreachable, a peer was refused. */
  warning: [error: PeerworkError];
  error: [error: PeerworkError];
}
