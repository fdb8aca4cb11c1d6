import { setMaxListeners } from 'node:events';
import { chmodSync, mkdtempSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { HALF_OPEN_IDLE_MS, joinStreams } from '../kit/join-streams.js';
import { removeTree } from '../kit/remove-tree.js';
import { type ReachOptions, Refused, reach } from './reach.js';

/** Path of the proxy's socket for programs that run without a network of their own. */
export const PROXY_SOCKET = '/run/peerwork/proxy.sock';

/** Loaded by `node --require` in such a sandbox, it routes ordinary connections through that socket. */
export const PRELOAD = { source: fileURLToPath(new URL('./preload.cjs', import.meta.url)), target: '/run/peerwork/preload.cjs' } as const;

export interface EgressProxyOptions extends ReachOptions {
  /** Called when a target is refused, once per target. */
  readonly onRefused?: (target: string, reason: string) => void;
  /** Idle limit once one side of a stream has ended, see `joinStreams`. Default: `HALF_OPEN_IDLE_MS`. */
  readonly halfOpenIdleMs?: number;
}

/** Followed by the process id. */
export const FOLDER_PREFIX = 'peerwork-egress-';
const MAX_STREAMS = 512;
const MAX_REPORTED = 50;
const HEADERS_MS = 10_000;

/**
 * The way out of a container or sandbox without a network: an HTTP proxy that supports only CONNECT, on a unix socket that is mounted
 * into it. It resolves names itself and enforces the policy of the job on every stream. It needs no privileges, and a program that does
 * not use it reaches nothing.
 *
 * Replies: 200 and the stream; 403 with the reason in `x-peerwork-refused`; 502 for an unreachable target, with the system's code in
 * `x-peerwork-error`; 503 beyond 512 streams.
 *
 * A broken stream is reset on both sides. A unix socket has no reset: there an orderly end is a half-close (the client can still write),
 * and a break is a close (a write, even an empty one, fails with EPIPE). With `confirmEnd` of `kit/join-streams` a client finds out which
 * of the two it was.
 */
export class EgressProxy {
  readonly socketPath: string;
  readonly #folder: string;
  readonly #options: EgressProxyOptions;
  readonly #server: Server;
  readonly #clients = new Set<Duplex>();
  readonly #reported = new Set<string>();
  readonly #closing = new AbortController();

  private constructor(folder: string, options: EgressProxyOptions) {
    this.#folder = folder;
    this.socketPath = join(folder, 'proxy.sock');
    this.#options = options;
    // Every stream being opened listens on this signal.
    setMaxListeners(0, this.#closing.signal);
    this.#server = createServer({ headersTimeout: HEADERS_MS, connectionsCheckingInterval: HEADERS_MS }, (_request, response) => {
      response.writeHead(405, { connection: 'close', allow: 'CONNECT' }).end('This proxy supports only CONNECT.\n');
    });
    this.#server.on('connect', (request: IncomingMessage, socket: Duplex, head: Buffer) => void this.#connect(request, socket, head));
    this.#server.on('clientError', (_error, socket) => socket.destroy());
  }

  static async open(options: EgressProxyOptions): Promise<EgressProxy> {
    const proxy = EgressProxy.start(options);
    await sweep();
    return proxy;
  }

  /** Opens the proxy synchronously: a process that is about to be started finds the socket. Throws if it cannot be created. */
  static start(options: EgressProxyOptions): EgressProxy {
    const folder = makeSocketFolder();
    const proxy = new EgressProxy(folder, options);
    // The folder is accessible to us alone; the mounted socket is for whatever user the container runs as.
    // A unix socket is bound before `listen` returns; if that failed, the socket is missing.
    proxy.#server.on('error', () => {}).listen(proxy.socketPath);
    try {
      chmodSync(proxy.socketPath, 0o666);
    } catch (error) {
      void removeTree(folder);
      throw error;
    }
    return proxy;
  }

  /** Forgets which refusals were reported, so that they are reported again. */
  forgetReported(): void {
    this.#reported.clear();
  }

  /** Ends every stream immediately. */
  async close(): Promise<void> {
    this.#closing.abort();
    for (const stream of this.#clients) stream.destroy();
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
    await removeTree(this.#folder);
  }

  async #connect(request: IncomingMessage, client: Duplex, head: Buffer): Promise<void> {
    const target = request.url ?? '';
    client.on('error', () => client.destroy());
    const full = this.#clients.size >= MAX_STREAMS;
    this.#clients.add(client);
    client.once('close', () => this.#clients.delete(client));
    if (full) return reply(client, '503 Too Many Streams');
    // Before anything asynchronous: a client that has ended by then would emit its end over an empty buffer.
    if (head.length > 0) client.unshift(head);
    try {
      const upstream = await reach(target, this.#options, this.#closing.signal);
      if (!client.destroyed) client.write('HTTP/1.1 200 Connection Established\r\n\r\n');
      const { halfOpenIdleMs = HALF_OPEN_IDLE_MS } = this.#options;
      // The stream itself signals a break to both sides.
      await joinStreams(client, upstream, { signal: this.#closing.signal, halfOpenIdleMs }).catch(() => {});
    } catch (error) {
      if (!(error instanceof Refused)) return reply(client, '502 Bad Gateway', `x-peerwork-error: ${codeOf(error)}`);
      this.#report(target, error.message);
      reply(client, '403 Forbidden', `x-peerwork-refused: ${error.message}`);
    }
  }

  #report(target: string, reason: string): void {
    const shown = target.slice(0, 120).replace(/[^\x20-\x7e]/g, '?');
    if (this.#reported.has(shown) || this.#reported.size >= MAX_REPORTED) return;
    this.#reported.add(shown);
    this.#options.onRefused?.(shown, reason);
  }
}

/**
 * Creates a folder for a socket, in the system's temporary folder, because a socket path is limited to 107 bytes. Leftovers of a killed
 * process are removed by a later one.
 */
export function makeSocketFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), `${FOLDER_PREFIX}${process.pid}-`));
  void sweep();
  return folder;
}

let swept: Promise<void> | undefined;

/** Removes the sockets of killed processes, once per process. */
function sweep(): Promise<void> {
  swept ??= readdir(tmpdir())
    .then(async (names) => {
      for (const name of names) if (isOfDeadProcess(name)) await removeTree(join(tmpdir(), name));
    })
    .catch(() => {});
  return swept;
}

function isOfDeadProcess(name: string): boolean {
  const pid = name.startsWith(FOLDER_PREFIX) ? Number(/^(\d+)-/.exec(name.slice(FOLDER_PREFIX.length))?.[1]) : Number.NaN;
  if (!Number.isSafeInteger(pid)) return false;
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'ESRCH';
  }
}

function reply(client: Duplex, status: string, ...headers: readonly string[]): void {
  // Does not wait for the client's own end.
  client.once('finish', () => client.destroy());
  client.end([`HTTP/1.1 ${status}`, ...headers, 'connection: close', 'content-length: 0', '', ''].join('\r\n'));
}

/** Returns the system's error code, such as `ETIMEDOUT`. */
function codeOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  return /^E[A-Z\d_]{2,30}$/.test(code) ? code : 'ECONNREFUSED';
}
