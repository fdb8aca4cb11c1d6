import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, existsSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { freePort } from './free-port.js';
import { removeFolder } from './remove-folder.js';

const run = promisify(execFile);
const START_LIMIT_MS = 240_000;
const END_LIMIT_MS = 10_000;

export interface LabPostgresOptions {
  /** Whether commits reach the disk, for benchmarks. Default false: they survive the server, not the machine. */
  readonly durable?: boolean;
  /** PEM files; the server then accepts TLS connections too, also on 127.0.0.2, which a certificate may not name. */
  readonly tls?: { readonly cert: string; readonly key: string };
}

/** A Postgres of our own, on a free port of this machine, in a folder that is removed with it. */
export class LabPostgres {
  readonly port: number;
  readonly #folder: string;
  readonly #options: LabPostgresOptions;
  #server: ChildProcess | undefined;
  #databases = 0;
  #data = 'data';
  readonly #onExit = () => this.#server?.kill('SIGKILL');

  private constructor(folder: string, port: number, options: LabPostgresOptions) {
    this.#folder = folder;
    this.port = port;
    this.#options = options;
    // Ends with a test that crashes.
    process.on('exit', this.#onExit);
  }

  static async start(options: LabPostgresOptions = {}): Promise<LabPostgres> {
    const folder = mkdtempSync(join(tmpdir(), 'peerwork-postgres-'));
    const owner = ownerOfServers();
    if (owner !== undefined) chownSync(folder, owner.uid, owner.gid);
    const lab = new LabPostgres(folder, await freePort(), options);
    try {
      const args = ['-D', join(folder, 'data'), '-U', 'peerwork', '--auth=trust', '--encoding=UTF8', '--locale=C', '--no-sync'];
      await run(programOf('initdb'), args, { cwd: folder, ...owner, env: environment });
      lab.#takeCertificate();
      await lab.startAgain();
      return lab;
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  /** Restarts the server after `stop`. */
  async startAgain(): Promise<void> {
    const { durable = false, tls } = this.#options;
    const settings = ['fsync', 'full_page_writes'].flatMap((name) => ['-c', `${name}=${durable ? 'on' : 'off'}`]);
    const place = [
      '-D',
      join(this.#folder, this.#data),
      '-k',
      this.#folder,
      '-p',
      String(this.port),
      '-c',
      `listen_addresses=127.0.0.1${tls === undefined ? '' : ',127.0.0.2'}`,
    ];
    const server = spawn(
      programOf('postgres'),
      [...place, ...settings, '-c', 'shared_buffers=256MB', '-c', 'max_connections=60', '-c', `ssl=${tls === undefined ? 'off' : 'on'}`],
      {
        cwd: this.#folder,
        stdio: ['ignore', 'ignore', 'pipe'],
        env: environment,
        ...ownerOfServers(),
      },
    );
    this.#server = server;
    let said = '';
    server.stderr?.on('data', (data) => {
      said = `${said}${data}`.slice(-2_000);
    });
    const startedAt = Date.now();
    while (!(await this.#answers())) {
      if (server.exitCode !== null || Date.now() - startedAt > START_LIMIT_MS) throw new Error(`postgres does not start: ${said}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Stops the server; its data stays. `immediate` simulates a power cut. */
  async stop(how: 'fast' | 'immediate' = 'fast'): Promise<void> {
    const server = this.#server;
    if (server === undefined || server.exitCode !== null || server.signalCode !== null) return;
    const gone = once(server, 'exit');
    server.kill(how === 'fast' ? 'SIGINT' : 'SIGQUIT');
    const timer = setTimeout(() => server.kill('SIGKILL'), END_LIMIT_MS);
    await gone;
    clearTimeout(timer);
  }

  /** Sets lines of pg_hba.conf, which apply to everyone but the superuser; by default everyone is accepted. */
  async letIn(...rules: readonly string[]): Promise<void> {
    const own = ['local all all trust', 'host all peerwork 127.0.0.1/32 trust'];
    writeFileSync(join(this.#folder, this.#data, 'pg_hba.conf'), [...own, ...rules, ''].join('\n'));
    await this.query('SELECT pg_reload_conf()');
  }

  #takeCertificate(): void {
    const { tls } = this.#options;
    if (tls === undefined) return;
    const owner = ownerOfServers();
    for (const [from, name] of [[tls.cert, 'server.crt'] as const, [tls.key, 'server.key'] as const]) {
      const to = join(this.#folder, this.#data, name);
      writeFileSync(to, readFileSync(from), { mode: 0o600 });
      if (owner !== undefined) chownSync(to, owner.uid, owner.gid);
    }
  }

  /** Replaces the dead server with a replica that has a copy of the data. It is read-only until promoted. */
  async failOver(): Promise<void> {
    await this.stop();
    const from = join(this.#folder, this.#data);
    this.#data = 'replica';
    await run('cp', ['-a', from, join(this.#folder, this.#data)]);
    writeFileSync(join(this.#folder, this.#data, 'standby.signal'), '');
    await this.startAgain();
  }

  async promote(): Promise<void> {
    await this.query('SELECT pg_promote()');
  }

  /** Returns the URL of a new empty database. With `icuLocale` it collates texts in that language instead of by bytes. */
  async createDatabase(encoding = 'UTF8', icuLocale?: string): Promise<string> {
    this.#databases += 1;
    const name = `test_${this.#databases}`;
    const locale = icuLocale === undefined ? '' : ` LOCALE_PROVIDER icu ICU_LOCALE '${icuLocale}'`;
    await this.query(`CREATE DATABASE ${name} ENCODING '${encoding}'${locale} TEMPLATE template0`);
    return this.urlOf(name);
  }

  urlOf(database: string, port = this.port): string {
    return `postgres://peerwork:not-checked-here@127.0.0.1:${port}/${database}`;
  }

  /** Runs one statement as the superuser. */
  async query(sql: string, database = 'postgres'): Promise<readonly Record<string, unknown>[]> {
    const client = new pg.Client({ connectionString: this.urlOf(database) });
    await client.connect();
    try {
      return (await client.query(sql)).rows;
    } finally {
      await client.end();
    }
  }

  async close(): Promise<void> {
    await this.stop('immediate');
    process.off('exit', this.#onExit);
    await removeFolder(this.#folder);
  }

  async #answers(): Promise<boolean> {
    try {
      await this.query('SELECT 1');
      return true;
    } catch {
      return false;
    }
  }
}

const environment = { PATH: process.env['PATH'] ?? '', LC_ALL: 'C', TZ: 'UTC' };

/** Debian keeps these programs outside the PATH, in a folder per version. */
function programOf(name: string): string {
  const program = findPostgres(name);
  if (program === undefined) throw new Error(`${name} is not installed`);
  return program;
}

export function findPostgres(name = 'postgres'): string | undefined {
  const root = '/usr/lib/postgresql';
  const versions = existsSync(root) ? readdirSync(root).sort((a, b) => Number(b) - Number(a)) : [];
  const folders = [...versions.map((version) => join(root, version, 'bin')), ...(process.env['PATH'] ?? '').split(':')];
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
}

/** Postgres refuses to run as root. */
export function ownerOfServers(): { readonly uid: number; readonly gid: number } | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const lines = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .map((line) => line.split(':'));
  const [, , uid, gid] = lines.find(([name]) => name === 'postgres') ?? lines.find(([name]) => name === 'nobody') ?? [];
  return { uid: Number(uid ?? 65_534), gid: Number(gid ?? 65_534) };
}
