import { Socket } from 'node:net';
import type { Redis } from 'ioredis';
import { within } from '../kit/deadline.js';
import { redisRetry } from '../kit/redis-retry.js';
import { readRedisUrl } from '../kit/redis-url.js';
import { openConnection } from './network.js';

/** The package: bundled into the crawler, optional elsewhere. */
export type Ioredis = Pick<typeof import('ioredis'), 'AbstractConnector' | 'Redis'>;

export interface RedisOptions {
  /** `redis://` or `rediss://`, with user, password and database number if needed. */
  readonly url: string;
  /** Unix socket of a proxy for all connections. */
  readonly proxySocket?: string | undefined;
  /** Time without a connection, in milliseconds, after which all pending commands are rejected. */
  readonly patienceMs?: number;
  /** A connection that receives more than this is closed: the server could otherwise fill the memory with a single reply. */
  readonly maxReceivedBytes?: number;
}

const CONNECT_MS = 10_000;
const DEFAULT_PATIENCE_MS = 60_000;
const MIN_RETRY_MS = 50;
const MAX_RETRY_MS = 1_000;

/**
 * Opens a Redis client over our own connections. It reconnects by itself until `patienceMs` has passed, resends commands without a reply,
 * and then rejects them: every script of the queue may run twice.
 */
export function openRedis(ioredis: Ioredis, { url, proxySocket, patienceMs = DEFAULT_PATIENCE_MS, maxReceivedBytes }: RedisOptions): Redis {
  const address = readRedisUrl(url);
  class Connector extends ioredis.AbstractConnector {
    constructor(options: unknown) {
      super((options as { readonly disconnectTimeout?: number }).disconnectTimeout ?? 2_000);
    }

    async connect(): Promise<Socket> {
      this.connecting = true;
      const connecting = within({ withinMs: CONNECT_MS }, (signal) => openConnection(address, proxySocket, signal));
      const socket = await connecting.catch((error: Error) => {
        // Not a rejection, which ioredis treats as final. A connection that is dead already is retried.
        this.firstError = error;
        return new Socket().destroy();
      });
      if (!this.connecting) socket.destroy();
      this.stream = socket;
      if (maxReceivedBytes !== undefined)
        socket.prependListener('data', () => {
          if (socket.bytesRead > maxReceivedBytes) socket.destroy(new Error(`more than ${maxReceivedBytes} bytes were sent`));
        });
      socket.once('error', (error) => {
        this.firstError = error;
      });
      return socket;
    }
  }
  const retry = redisRetry({ firstMs: MIN_RETRY_MS, capMs: MAX_RETRY_MS, patienceMs, resend: true });
  const redis = new ioredis.Redis({
    Connector,
    db: address.db,
    ...(address.username === '' ? {} : { username: address.username }),
    ...(address.password === '' ? {} : { password: address.password }),
    maxRetriesPerRequest: null,
    ...retry.options,
  });
  redis.on('ready', retry.ready);
  // Each error also rejects the commands that wait; without a listener ioredis would print it.
  redis.on('error', () => {});
  return redis;
}
