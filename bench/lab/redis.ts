import { once } from 'node:events';
import { createConnection } from 'node:net';
import { freePort } from '../../test/lab/free-port.js';
import type { Lab } from './lab.js';

const START_LIMIT_MS = 10_000;

/** A Redis of our own on a free port, with an append-only file that is synced every second: BullMQ's usual setting. */
export async function startRedis(lab: Lab): Promise<number> {
  const port = await freePort();
  const folder = lab.makeFolder('redis');
  const redis = lab.spawn(
    'redis-server',
    [
      '--port',
      String(port),
      '--bind',
      '127.0.0.1',
      '--dir',
      folder,
      '--save',
      '',
      '--appendonly',
      'yes',
      '--appendfsync',
      'everysec',
      '--maxmemory-policy',
      'noeviction',
    ],
    { stdio: 'ignore' },
  );
  const refused = new Promise<never>((_, reject) => {
    redis.once('error', (error) => reject(new Error(`redis-server cannot be started: ${error.message}`)));
    redis.once('exit', (code) => reject(new Error(`redis-server ended with code ${code}`)));
  });
  refused.catch(() => {});
  await Promise.race([refused, accepts(port)]);
  return port;
}

async function accepts(port: number): Promise<void> {
  for (const startedAt = Date.now(); Date.now() - startedAt < START_LIMIT_MS; ) {
    const socket = createConnection(port, '127.0.0.1');
    try {
      await once(socket, 'connect');
      return;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 50));
    } finally {
      socket.destroy();
    }
  }
  throw new Error('redis-server does not answer');
}
