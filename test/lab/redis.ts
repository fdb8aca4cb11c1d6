import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { Redis } from 'ioredis';
import { freePort } from './free-port.js';
import { removeFolder } from './remove-folder.js';
import { findTool, requireTools } from './require.js';

const START_LIMIT_MS = 240_000;
const END_LIMIT_MS = 10_000;

export interface LabRedisOptions {
  /** Required from clients, by `requirepass`. */
  readonly password?: string;
  /** Whether written data survives the server; the log is synced on every write. Default true. */
  readonly durable?: boolean;
  /** PEM files; the server then speaks TLS only. */
  readonly tls?: { readonly cert: string; readonly key: string; readonly ca: string };
  /** Users besides the default one, as ACL rules such as `me on >secret ~worqr* &* +@all`. */
  readonly users?: readonly string[];
}

/** Debian package that it needs, for `requireTools`. */
export const redisTools = { 'redis-server': 'redis-server' };

/** Skips the test if this machine has no Redis server. */
export function requireRedis(t: Parameters<typeof requireTools>[0]): boolean {
  return requireTools(t, redisTools);
}

/** A Redis of our own, on a free port of this machine, in a folder that is removed with it. */
export class LabRedis {
  readonly port: number;
  readonly #folder: string;
  readonly #options: LabRedisOptions;
  #server: ChildProcess | undefined;
  readonly #onExit = () => this.#server?.kill('SIGKILL');

  private constructor(folder: string, port: number, options: LabRedisOptions) {
    this.#folder = folder;
    this.port = port;
    this.#options = options;
    // Ends with a test that crashes.
    process.on('exit', this.#onExit);
  }

  static async start(options: LabRedisOptions = {}): Promise<LabRedis> {
    const lab = new LabRedis(mkdtempSync(join(tmpdir(), 'peerwork-redis-')), await freePort(), options);
    try {
      await lab.startAgain();
      return lab;
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  /** URL with the password, for database 0. */
  get url(): string {
    const { password, tls } = this.#options;
    return `redis${tls === undefined ? '' : 's'}://${password === undefined ? '' : `:${encodeURIComponent(password)}@`}127.0.0.1:${this.port}`;
  }

  /** Opens a client that reconnects after an outage; the caller disconnects it. */
  connect(): Redis {
    const { tls } = this.#options;
    const trust = tls === undefined ? {} : { tls: { ca: readFileSync(tls.ca) } };
    const client = new Redis(this.url, { maxRetriesPerRequest: null, retryStrategy: () => 50, ...trust });
    client.on('error', () => {});
    return client;
  }

  /** Restarts the server after `stop`, on the same port and with its data. */
  async startAgain(): Promise<void> {
    const { password, durable = true } = this.#options;
    const log = durable ? ['--appendonly', 'yes', '--appendfsync', 'always'] : ['--appendonly', 'no'];
    const { tls, users = [] } = this.#options;
    const port = tls === undefined ? ['--port', String(this.port)] : ['--port', '0', '--tls-port', String(this.port)];
    const files = tls === undefined ? [] : ['--tls-cert-file', tls.cert, '--tls-key-file', tls.key, '--tls-ca-cert-file', tls.ca];
    const rules = [
      ...files,
      ...(tls === undefined ? [] : ['--tls-auth-clients', 'no']),
      ...users.flatMap((user) => ['--user', ...user.split(' ')]),
    ];
    const place = [...port, ...rules, '--bind', '127.0.0.1', '--dir', this.#folder, '--save', ''];
    const access = password === undefined ? [] : ['--requirepass', password];
    const server = spawn(findTool('redis-server') ?? 'redis-server', [...place, ...log, ...access], {
      cwd: this.#folder,
      stdio: ['ignore', 'pipe', 'ignore'],
      env: { PATH: process.env['PATH'] ?? '', LC_ALL: 'C' },
    });
    this.#server = server;
    let said = '';
    server.stdout?.on('data', (data) => {
      said = `${said}${data}`.slice(-2_000);
    });
    server.on('error', (error) => {
      said += error.message;
    });
    const startedAt = Date.now();
    while (!(await this.#answers())) {
      const ended = server.exitCode !== null || server.signalCode !== null || server.pid === undefined;
      if (ended || Date.now() - startedAt > START_LIMIT_MS) throw new Error(`redis-server does not start: ${said}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Stops the server; its data stays if it is durable. `kill` simulates a power cut. */
  async stop(how: 'clean' | 'kill' = 'clean'): Promise<void> {
    const server = this.#server;
    if (server === undefined || server.pid === undefined || server.exitCode !== null || server.signalCode !== null) return;
    const gone = once(server, 'exit');
    server.kill(how === 'clean' ? 'SIGTERM' : 'SIGKILL');
    const timer = setTimeout(() => server.kill('SIGKILL'), END_LIMIT_MS);
    await gone;
    clearTimeout(timer);
  }

  /** Suspends the server while connections stay open, like a network that drops everything. */
  freeze(): void {
    this.#server?.kill('SIGSTOP');
  }

  thaw(): void {
    this.#server?.kill('SIGCONT');
  }

  async close(): Promise<void> {
    await this.stop('kill');
    process.off('exit', this.#onExit);
    await removeFolder(this.#folder);
  }

  /** Accepting connections is not enough: the server reads its log first, and replies LOADING until then. */
  async #answers(): Promise<boolean> {
    const { tls } = this.#options;
    const socket =
      tls === undefined
        ? createConnection(this.port, '127.0.0.1')
        : connectTls({ port: this.port, host: '127.0.0.1', ca: readFileSync(tls.ca) });
    try {
      await once(socket, tls === undefined ? 'connect' : 'secureConnect');
      socket.write('PING\r\n');
      const [answer] = await once(socket, 'data');
      return !String(answer).startsWith('-LOADING');
    } catch {
      return false;
    } finally {
      socket.destroy();
    }
  }
}
