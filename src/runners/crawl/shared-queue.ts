import type { Redis } from 'ioredis';
import { type Clock, pause } from '../../clock.js';
import { type QueueCounts, RedisQueue } from '../../crawl/queue/redis-queue.js';
import { openRedis } from '../../crawl/redis.js';
import { PeerworkError } from '../../errors.js';
import { isRedisDenial } from '../../kit/redis-retry.js';

/** A Redis that is there answers at once. */
const PING_MS = 3_000;
/** What the queue's keys are kept for after the crawl, for those who want to look. */
const KEEP_MS = 86_400_000;

/** The request queue of a run, as the Worker sees it: not to crawl, but to clear up after containers that died, and to count. */
export class SharedQueue {
  readonly #redis: Redis;
  readonly #queue: RedisQueue;

  private constructor(redis: Redis, queue: RedisQueue) {
    this.#redis = redis;
    this.#queue = queue;
  }

  /** Rejects with `crawl-redis-unreachable` or `redis-denied`. */
  static async open(url: string, queue: string, proxySocket: string, clock: Clock): Promise<SharedQueue> {
    const redis = openRedis({ url, proxySocket });
    let fault = new Error('it does not answer');
    redis.on('error', (error) => {
      fault = error;
    });
    const answers = await Promise.race([
      redis.ping().then(Boolean, (error: Error) => {
        fault = error;
        return false;
      }),
      pause(clock, PING_MS).then(() => false),
    ]);
    if (answers) return new SharedQueue(redis, new RedisQueue({ redis, queue, client: 'coordinator' }));
    redis.disconnect();
    throw new PeerworkError(isRedisDenial(fault) ? 'redis-denied' : 'crawl-redis-unreachable', fault.message, { cause: fault });
  }

  /** Frees what a container that died had claimed, so that the others need not wait for its locks. Answers how much; never rejects. */
  release(container: string): Promise<number> {
    return this.#queue.release(container).catch(() => 0);
  }

  /** undefined: Redis does not answer. */
  counts(): Promise<QueueCounts | undefined> {
    return this.#queue.counts().catch(() => undefined);
  }

  /** The crawl has ended: the keys go by themselves. Never rejects. */
  async expire(): Promise<void> {
    await this.#queue.expire(KEEP_MS).catch(() => {});
  }

  close(): void {
    this.#redis.disconnect();
  }
}
