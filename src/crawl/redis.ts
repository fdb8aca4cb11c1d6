import { Socket } from 'node:net';
import type { Redis } from 'ioredis';
import { within } from '../kit/deadline.js';
import { redisRetry } from '../kit/redis-retry.js';
import { readRedisUrl } from '../kit/redis-url.js';
import { openConnection } from './network.js';

/** The package: bundled into the crawler, optional elsewhere. */
export type Ioredis = Pick<typeof import('ioredis'), 'AbstractConnector' | 'Redis'>;

export interface RedisOptions {
  /** `redis://` or `rediss://`, with user, password and database number where needed. */
  readonly url: string;
  /** The unix socket of a proxy that all goes through. */
  readonly proxySocket?: string | undefined;
  /** After so long without a connection all that waits is rejected. In milliseconds. */
  readonly patienceMs?: number;
  /** A connection that brings more than this is ended: whoever is at the other end could fill the memory with one answer. */
  readonly maxReceivedBytes?: number;
}

const CONNECT_MS = 10_000;
const DEFAULT_PATIENCE_MS = 60_000;
const MIN_RETRY_MS = 50;
const MAX_RETRY_MS = 1_000;

/**
 * A Redis client over a connection of our own making. It connects again by itself for as long as patience lasts, sends again what was not
 * answered, and rejects then: every script of the queue may run twice.
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
        // Not a rejection: for ioredis that would be the end. A connection that is dead already is tried again.
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
  // Each rejects the commands that wait for it; without a listener it would be printed too.
  redis.on('error', () => {});
  return redis;
}
