import type { Server } from 'node:http';
import type { PeerworkError } from '../errors.js';
import type { LeaseKey } from '../job/verbs.js';
import type { PackageSetName } from '../kit/package-sets.js';
import type { ConnectedWorker } from './connected-worker.js';
import type { Gate } from './http/auth.js';
import type { JobService } from './job-service.js';
import type { Tasks } from './tasks.js';

/** Serves clients or workers of a foreign system with this Master's jobs: routes in the HTTP API, a service of its own, or both. */
export interface ServerSetup {
  readonly name: string;
  /** Packages that its routes need and that are not installed with peerwork. */
  readonly packages?: readonly PackageSetName[];
  /** Creates the routes, once for each place that serves the API: `http`, `express()` and `fastify()`. */
  routes?(context: RoutesContext): ServerRoutes;
  /** Creates the service for workers that do not use HTTP. Throws `option-invalid` if its options do not allow that. */
  workers?(context: WorkersContext): WorkersServer;
}

export interface RoutesContext {
  readonly service: JobService;
  /** Access control: which request may do what. */
  readonly gate: Gate;
}

export interface ServerRoutes {
  /** Registers the routes. `app` is a Fastify instance, whose types are not installed with peerwork. */
  register(app: object): Promise<void>;
  /** Live events for the clients of this server, and for web pages of these origins. */
  attach?(server: Server, origins: readonly string[]): void;
  close(): Promise<void>;
}

export interface WorkersContext {
  readonly service: JobService;
  readonly tasks: Tasks;
  readonly onWarning: (error: PeerworkError) => void;
  readonly onConnected: (worker: ConnectedWorker) => void;
  readonly onDisconnected: (worker: ConnectedWorker, error: PeerworkError) => void;
}

export interface WorkersServer {
  /** Called once jobs may be handed out. Rejects if it cannot listen. */
  start(): Promise<void>;
  list(): readonly ConnectedWorker[];
  /** Called when a task has changed. */
  published(): void;
  /** Called when a run no longer counts. */
  cancel(workerId: string, lease: LeaseKey): void;
  /** Ends the link of a worker. */
  dismiss(workerId: string): void;
  close(): Promise<void>;
}
