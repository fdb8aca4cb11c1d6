import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import type { FastifyInstance } from 'fastify';
import { DEFAULT_HTTP_HOST, DEFAULT_HTTP_PORT } from '../../config/defaults.js';
import { PeerworkError } from '../../errors.js';
import { listenError } from '../../kit/system-error.js';
import type { ApiOptions } from './options.js';
import { PROBLEM_TYPE, problemOf } from './problems.js';

/** Where the build places the dashboard. */
export const dashboardFolder = fileURLToPath(new URL('../../../../assets/dashboard', import.meta.url));

const HEADERS_TIMEOUT_MS = 10_000;
const CHECK_MS = 1_000;
const MAX_CONNECTIONS = 5_000;
const CLOSE_MS = 2_000;

export interface HttpServerOptions extends ApiOptions {
  readonly host?: string;
  /** 0 takes a free port. */
  readonly port?: number;
  /** Take a free port if that one is in use; default false. */
  readonly fallBack?: boolean;
  readonly maxConnections?: number;
  /** Time for the headers of a request to arrive, in milliseconds; default 10,000. */
  readonly headersTimeoutMs?: number;
  /** Handlers served next to the API, selected by path prefix; they see unmodified URLs. */
  readonly mounts?: readonly { readonly path: string; readonly serve: (request: IncomingMessage, response: ServerResponse) => void }[];
}

/**
 * Serves API and dashboard on a port of its own. `close` ends streams and long polls, lets other requests finish, and disconnects
 * clients that remain.
 */
export class HttpServer {
  readonly #options: HttpServerOptions;
  #app: FastifyInstance | undefined;
  #server: Server | undefined;

  constructor(options: HttpServerOptions) {
    this.#options = options;
  }

  /** The underlying server, for handlers of upgrades; undefined before `start`. */
  get server(): Server | undefined {
    return this.#server;
  }

  /** Rejects with `address-unusable`, `port-denied`, `address-absent` or `host-unknown` if it cannot listen. */
  async start(): Promise<{ readonly url: string }> {
    const { host = DEFAULT_HTTP_HOST, port = DEFAULT_HTTP_PORT, fallBack = false, service } = this.#options;
    try {
      await this.#listen(host, port);
    } catch (error) {
      if (!fallBack || (error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw unusable(error);
      service.log.warn('the port of the HTTP API is in use: using another', {
        port,
        hint: 'No action needed if any port will do. Otherwise stop the process that is listening there (`ss -ltnp` shows it), or choose another port with `--http`.',
      });
      await this.#listen(host, 0).catch((again) => Promise.reject(unusable(again)));
    }
    const address = this.#server?.address() as AddressInfo;
    const name = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '[::1]' : address.family === 'IPv6' ? `[${address.address}]` : host;
    return { url: `http://${name}:${address.port}` };
  }

  async #listen(host: string, port: number): Promise<void> {
    // Loaded on demand: a Master without HTTP needs none of it.
    const { createApi } = await import('./api.js');
    const { app, attachLive } = await createApi(this.#options, {
      forceCloseConnections: 'idle',
      serverFactory: (handler) => {
        this.#server = this.#listener(handler);
        return this.#server;
      },
    });
    this.#app = app;
    try {
      await app.listen({ host, port });
      if (this.#server !== undefined) attachLive(this.#server);
    } catch (error) {
      await app.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    const timer = setTimeout(() => this.#server?.closeAllConnections(), CLOSE_MS);
    await this.#app?.close();
    if (this.#server?.listening) await once(this.#server, 'close');
    clearTimeout(timer);
  }

  #listener(handler: (request: IncomingMessage, response: ServerResponse) => void): Server {
    const { mounts = [], headersTimeoutMs = HEADERS_TIMEOUT_MS, maxConnections = MAX_CONNECTIONS } = this.#options;
    const settings = {
      headersTimeout: headersTimeoutMs,
      requestTimeout: 0,
      keepAliveTimeout: 65_000,
      connectionsCheckingInterval: Math.min(CHECK_MS, headersTimeoutMs),
      keepAlive: true,
      keepAliveInitialDelay: 30_000,
    };
    const server = createServer(settings, (request, response) => {
      const mount = mounts.find(
        ({ path }) => request.url === path || request.url?.startsWith(`${path}/`) || request.url?.startsWith(`${path}?`),
      );
      (mount?.serve ?? handler)(request, response);
    });
    server.maxConnections = maxConnections;
    server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
      if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
      const problem = problemOf(
        error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
          ? new PeerworkError('request-slow')
          : new PeerworkError('request-invalid', 'it is no HTTP'),
      );
      const body = JSON.stringify(problem);
      socket.end(
        `HTTP/1.1 ${problem.status} Bad Request\r\ncontent-type: ${PROBLEM_TYPE}\r\ncontent-length: ${Buffer.byteLength(body)}\r\nconnection: close\r\n\r\n${body}`,
      );
    });
    return server;
  }
}

function unusable(error: unknown): PeerworkError {
  return error instanceof PeerworkError ? error : listenError(error, 'address-unusable', '');
}
