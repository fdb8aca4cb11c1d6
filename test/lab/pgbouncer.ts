import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, mkdtempSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from './free-port.js';
import { type LabPostgres, ownerOfServers } from './postgres.js';
import { removeFolder } from './remove-folder.js';
import { findTool } from './require.js';

export const pgbouncerTools = { pgbouncer: 'pgbouncer' };
const START_LIMIT_MS = 240_000;

/** pgbouncer in transaction mode in front of a Postgres of the lab, with fewer sessions than clients. */
export class LabPgbouncer {
  readonly port: number;
  readonly #folder: string;
  readonly #server: ChildProcess;
  readonly #onExit = () => this.#server.kill('SIGKILL');

  private constructor(folder: string, port: number, server: ChildProcess) {
    this.#folder = folder;
    this.port = port;
    this.#server = server;
    // Ends with a test that crashes.
    process.on('exit', this.#onExit);
  }

  static async start(postgres: LabPostgres, sessions = 2): Promise<LabPgbouncer> {
    const folder = mkdtempSync(join(tmpdir(), 'peerwork-pgbouncer-'));
    const port = await freePort();
    writeFileSync(join(folder, 'users.txt'), '"peerwork" ""\n');
    writeFileSync(
      join(folder, 'pgbouncer.ini'),
      `[databases]
* = host=127.0.0.1 port=${postgres.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${port}
unix_socket_dir =
auth_type = trust
auth_file = ${join(folder, 'users.txt')}
pool_mode = transaction
default_pool_size = ${sessions}
server_login_retry = 1
`,
    );
    const owner = ownerOfServers();
    if (owner !== undefined) chownSync(folder, owner.uid, owner.gid);
    const server = spawn(findTool('pgbouncer') ?? 'pgbouncer', ['-q', join(folder, 'pgbouncer.ini')], {
      cwd: folder,
      stdio: 'ignore',
      env: {},
      ...owner,
    });
    const lab = new LabPgbouncer(folder, port, server);
    for (const startedAt = Date.now(); !(await answers(port)); await new Promise((resolve) => setTimeout(resolve, 50)))
      if (server.exitCode !== null || Date.now() - startedAt > START_LIMIT_MS) {
        await lab.close();
        throw new Error('pgbouncer does not start');
      }
    return lab;
  }

  async close(): Promise<void> {
    process.off('exit', this.#onExit);
    if (this.#server.exitCode === null && this.#server.signalCode === null) {
      const gone = once(this.#server, 'exit');
      this.#server.kill('SIGKILL');
      await gone;
    }
    await removeFolder(this.#folder);
  }
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
