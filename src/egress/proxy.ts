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

/** Where what runs without a network of its own finds the proxy's socket. */
export const PROXY_SOCKET = '/run/peerwork/proxy.sock';

/** Loaded by `node --require` in such a sandbox, it leads ordinary connections through that socket. */
export const PRELOAD = { source: fileURLToPath(new URL('./preload.cjs', import.meta.url)), target: '/run/peerwork/preload.cjs' } as const;

export interface EgressProxyOptions extends ReachOptions {
  /** Something was refused, said once for each target. */
  readonly onRefused?: (target: string, reason: string) => void;
  /** After one side of a stream has ended, see `joinStreams`. Default: `HALF_OPEN_IDLE_MS`. */
  readonly halfOpenIdleMs?: number;
}

/** With the process id behind it. */
export const FOLDER_PREFIX = 'peerwork-egress-';
const MAX_STREAMS = 512;
const MAX_TOLD = 50;
const HEADERS_MS = 10_000;

/**
 * The way out of a container or sandbox without a network: an HTTP proxy that knows only CONNECT, on a unix socket that is mounted into it. It resolves names
 * itself and holds every stream to the policy of the job. Needs no rights, and what does not speak to it reaches nothing.
 *
 * Answers: 200 and the stream; 403 with the reason in `x-peerwork-refused`; 502 for a target that cannot be reached, with the system's code in
 * `x-peerwork-error`; 503 beyond 512 streams.
 *
 * A stream that broke is reset on both sides. A unix socket has no reset: there an orderly end is a half-close (the client can still write), and a
 * break is a close (a write, even of nothing, fails with EPIPE). `confirmEnd` of `kit/join-streams` tells a client which of the two it met.
 */
export class EgressProxy {
  readonly socketPath: string;
  readonly #folder: string;
  readonly #options: EgressProxyOptions;
  readonly #server: Server;
  readonly #clients = new Set<Duplex>();
  readonly #told = new Set<string>();
  readonly #closing = new AbortController();

  private constructor(folder: string, options: EgressProxyOptions) {
    this.#folder = folder;
    this.socketPath = join(folder, 'proxy.sock');
    this.#options = options;
    // Every stream that is being opened hangs on it.
    setMaxListeners(0, this.#closing.signal);
    this.#server = createServer({ headersTimeout: HEADERS_MS, connectionsCheckingInterval: HEADERS_MS }, (_request, response) => {
      response.writeHead(405, { connection: 'close', allow: 'CONNECT' }).end('This proxy knows CONNECT only.\n');
    });
    this.#server.on('connect', (request: IncomingMessage, socket: Duplex, head: Buffer) => void this.#connect(request, socket, head));
    this.#server.on('clientError', (_error, socket) => socket.destroy());
  }

  static async open(options: EgressProxyOptions): Promise<EgressProxy> {
    const proxy = EgressProxy.start(options);
    await sweep();
    return proxy;
  }

  /** The same at once: a process that is about to be started finds the socket. Throws if it cannot be made. */
  static start(options: EgressProxyOptions): EgressProxy {
    const folder = makeSocketFolder();
    const proxy = new EgressProxy(folder, options);
    // The folder is ours alone; the socket, mounted, is for whatever user the container runs as.
    // A unix socket is bound before `listen` returns; what went wrong shows in its absence.
    proxy.#server.on('error', () => {}).listen(proxy.socketPath);
    try {
      chmodSync(proxy.socketPath, 0o666);
    } catch (error) {
      void removeTree(folder);
      throw error;
    }
    return proxy;
  }

  /** What is refused from now on is said once more. */
  tellAnew(): void {
    this.#told.clear();
  }

  /** Ends every stream at once. */
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
    if (full) return answer(client, '503 Too Many Streams');
    // At once: a client that has ended by then would emit its end over an empty buffer.
    if (head.length > 0) client.unshift(head);
    try {
      const there = await reach(target, this.#options, this.#closing.signal);
      if (!client.destroyed) client.write('HTTP/1.1 200 Connection Established\r\n\r\n');
      const { halfOpenIdleMs = HALF_OPEN_IDLE_MS } = this.#options;
      // Both sides are told of a break by the stream itself.
      await joinStreams(client, there, { signal: this.#closing.signal, halfOpenIdleMs }).catch(() => {});
    } catch (error) {
      if (!(error instanceof Refused)) return answer(client, '502 Bad Gateway', `x-peerwork-error: ${codeOf(error)}`);
      this.#tell(target, error.message);
      answer(client, '403 Forbidden', `x-peerwork-refused: ${error.message}`);
    }
  }

  #tell(target: string, reason: string): void {
    const shown = target.slice(0, 120).replace(/[^\x20-\x7e]/g, '?');
    if (this.#told.has(shown) || this.#told.size >= MAX_TOLD) return;
    this.#told.add(shown);
    this.#options.onRefused?.(shown, reason);
  }
}

/** For a socket: in the system's own folder, because its path has 107 bytes at most. What a killed process leaves there, a later one removes. */
export function makeSocketFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), `${FOLDER_PREFIX}${process.pid}-`));
  void sweep();
  return folder;
}

let swept: Promise<void> | undefined;

/** Once a process: removes the sockets of processes that were killed. */
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

function answer(client: Duplex, status: string, ...headers: readonly string[]): void {
  // Also if the client says no more: its own end is not waited for.
  client.once('finish', () => client.destroy());
  client.end([`HTTP/1.1 ${status}`, ...headers, 'connection: close', 'content-length: 0', '', ''].join('\r\n'));
}

/** What the system calls it, such as `ETIMEDOUT`. */
function codeOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  return /^E[A-Z\d_]{2,30}$/.test(code) ? code : 'ECONNREFUSED';
}
