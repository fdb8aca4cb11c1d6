import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import type { Test } from 'tap';
import { freePort } from './free-port.js';
import { LabRedis } from './redis.js';
import { removeFolder } from './remove-folder.js';
import { findTool } from './require.js';
import { until } from './until.js';

/** A primary and its replica behind one address, like a service name or a virtual address. */
export class RedisPair {
  readonly first: LabRedis;
  readonly second: LabRedis;
  readonly #door: Server;
  readonly #sockets = new Set<Socket>();
  #target: LabRedis;

  private constructor(first: LabRedis, second: LabRedis, door: Server) {
    [this.first, this.second, this.#target, this.#door] = [first, second, first, door];
  }

  static async start(t: Test): Promise<RedisPair> {
    const [first, second] = [await LabRedis.start(), await LabRedis.start()];
    const door = createServer((socket) => pair.#pass(socket));
    const pair = new RedisPair(first, second, door);
    door.listen(0, '127.0.0.1');
    await once(door, 'listening');
    t.teardown(() => pair.#close());
    await pair.#replicate(second, first);
    return pair;
  }

  get url(): string {
    return `redis://127.0.0.1:${(this.#door.address() as AddressInfo).port}`;
  }

  /** The replica takes over. Connections to the old primary stay open and find a replica there; new ones lead to the new primary. */
  async failOver(): Promise<void> {
    await replicated(this.first);
    await command(this.second, 'REPLICAOF', 'NO', 'ONE');
    this.#target = this.second;
    await command(this.first, 'REPLICAOF', '127.0.0.1', String(this.second.port));
  }

  async #replicate(replica: LabRedis, primary: LabRedis): Promise<void> {
    await command(replica, 'REPLICAOF', '127.0.0.1', String(primary.port));
    await linkUp(replica);
  }

  #pass(socket: Socket): void {
    const onward = connect(this.#target.port, '127.0.0.1');
    for (const [one, other] of [
      [socket, onward],
      [onward, socket],
    ] as const) {
      this.#sockets.add(one);
      one.pipe(other);
      one.on('error', () => other.destroy());
      one.on('close', () => {
        this.#sockets.delete(one);
        other.destroy();
      });
    }
  }

  async #close(): Promise<void> {
    this.#door.close();
    for (const socket of this.#sockets) socket.destroy();
    await this.first.close();
    await this.second.close();
  }
}

/** A primary, its replica and a sentinel that watches them. */
export class WatchedRedis {
  readonly primary: LabRedis;
  readonly replica: LabRedis;
  readonly sentinelPort: number;

  private constructor(primary: LabRedis, replica: LabRedis, sentinelPort: number) {
    [this.primary, this.replica, this.sentinelPort] = [primary, replica, sentinelPort];
  }

  static async start(t: Test): Promise<WatchedRedis> {
    const [primary, replica, port] = [await LabRedis.start(), await LabRedis.start(), await freePort()];
    await command(replica, 'REPLICAOF', '127.0.0.1', String(primary.port));
    await linkUp(replica);
    const folder = mkdtempSync(join(tmpdir(), 'peerwork-sentinel-'));
    const file = join(folder, 'sentinel.conf');
    const settings = [
      `port ${port}`,
      'bind 127.0.0.1',
      `sentinel monitor main 127.0.0.1 ${primary.port} 1`,
      'sentinel down-after-milliseconds main 1000',
      'sentinel failover-timeout main 5000',
    ];
    writeFileSync(file, `${settings.join('\n')}\n`);
    const sentinel = spawn(findTool('redis-server') ?? 'redis-server', [file, '--sentinel'], { cwd: folder, stdio: 'ignore' });
    t.teardown(async () => {
      await ended(sentinel);
      await primary.close();
      await replica.close();
      await removeFolder(folder);
    });
    const client = new Redis({ port, host: '127.0.0.1', retryStrategy: () => 50, maxRetriesPerRequest: null });
    client.on('error', () => {});
    // It learns of the replica from the primary, every ten seconds.
    const known = async () => ((await client.call('SENTINEL', 'replicas', 'main')) as unknown[]).length === 1;
    await until(known);
    client.disconnect();
    return new WatchedRedis(primary, replica, port);
  }

  get url(): string {
    return `redis+sentinel://127.0.0.1:1,127.0.0.1:${this.sentinelPort}/main`;
  }

  /** Kills the primary, so that the sentinel promotes the replica. */
  async failOver(): Promise<void> {
    await replicated(this.primary);
    await this.primary.stop('kill');
  }
}

/** Creates a certificate for 127.0.0.1, with an authority of its own. */
export function makeCertificate(t: Test): { readonly folder: string; readonly ca: string; readonly cert: string; readonly key: string } {
  const folder = mkdtempSync(join(tmpdir(), 'peerwork-tls-'));
  t.teardown(() => removeFolder(folder));
  const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')];
  const names = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'];
  execFileSync('openssl', ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-keyout', key, '-out', cert, ...names], {
    stdio: 'ignore',
  });
  return { folder, ca: cert, cert, key };
}

async function command(lab: LabRedis, name: string, ...words: string[]): Promise<unknown> {
  const client = lab.connect();
  try {
    return await client.call(name, ...words);
  } finally {
    client.disconnect();
  }
}

async function linkUp(replica: LabRedis): Promise<void> {
  await until(async () => String(await command(replica, 'INFO', 'replication')).includes('master_link_status:up'));
}

/** Waits until everything written so far has reached the replica. */
async function replicated(primary: LabRedis): Promise<void> {
  await command(primary, 'WAIT', '1', '5000');
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill('SIGKILL');
  await once(child, 'exit');
}
