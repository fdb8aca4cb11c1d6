import type { Redis } from 'ioredis';
import { type Clock, pause } from '../../clock.js';
import { type QueueCounts, RedisQueue } from '../../crawl/queue/redis-queue.js';
import { openRedis } from '../../crawl/redis.js';
import { MAX_JOB_DATA_BYTES } from '../../job/limits.js';
import { optionalPackage } from '../../kit/optional-package.js';
import { redisError } from '../../kit/redis-fault.js';
import { KEEP_MS } from './kept-crawls.js';
import type { ResultBook } from './results.js';

/** A running Redis responds immediately. */
const PING_MS = 3_000;
/** An unreachable Redis must not delay the end of a run. */
const CLEAN_UP_MS = 10_000;
/** Of one result: a longer one would not fit anyway. */
const MAX_RESULT_BYTES = MAX_JOB_DATA_BYTES;
/** What this Redis may send during a run: its results, twice over, and many small replies. */
const MAX_RECEIVED_BYTES = 64 * 1024 * 1024;

/** The request queue of a run from the Worker's side: not to crawl, but to release what dead containers claimed, and to count. */
export class SharedQueue {
  readonly #redis: Redis;
  readonly #queue: RedisQueue;
  readonly #clock: Clock;

  private constructor(redis: Redis, queue: RedisQueue, clock: Clock) {
    this.#redis = redis;
    this.#queue = queue;
    this.#clock = clock;
  }

  /** Rejects with `crawl-redis-unreachable`, or another code that `redisError` determines. */
  static async open(url: string, queue: string, proxySocket: string, clock: Clock): Promise<SharedQueue> {
    const redis = openRedis(await optionalPackage('ioredis'), { url, proxySocket, maxReceivedBytes: MAX_RECEIVED_BYTES });
    let fault = new Error('it does not respond');
    redis.on('error', (error) => {
      fault = error;
    });
    const isUp = await Promise.race([
      redis.ping().then(Boolean, (error: Error) => {
        fault = error;
        return false;
      }),
      pause(clock, PING_MS).then(() => false),
    ]);
    if (isUp) return new SharedQueue(redis, new RedisQueue({ redis, queue, client: 'coordinator' }), clock);
    redis.disconnect();
    throw redisError(fault, 'crawl-redis-unreachable');
  }

  /**
   * Frees what a dead container had claimed, so that the others need not wait for its locks. Returns the number of pages; never rejects.
   */
  async release(container: string): Promise<number> {
    return (await this.#bounded(this.#queue.release(container))) ?? 0;
  }

  /** Resolves with undefined if Redis does not respond. */
  counts(): Promise<QueueCounts | undefined> {
    return this.#bounded(this.#queue.counts());
  }

  /** Adds the results that are only in Redis. Never rejects: results that Redis does not return are missing. */
  async enter(book: ResultBook): Promise<void> {
    const enter = async () => {
      for await (const { id, json } of this.#queue.results(MAX_RESULT_BYTES)) if (!book.has(id)) book.add(json);
    };
    await this.#bounded(enter());
  }

  /** Called at the end of an attempt: if there is no next one, its state expires after a day. Never rejects. */
  async expire(): Promise<void> {
    await this.#bounded(this.#queue.expire(KEEP_MS));
  }

  /** Removes the queue, since no attempt will continue from it. Never rejects. */
  async remove(): Promise<void> {
    await this.#bounded(this.#queue.remove());
  }

  async #bounded<T>(answer: Promise<T>): Promise<T | undefined> {
    return Promise.race([answer.catch(() => undefined), pause(this.#clock, CLEAN_UP_MS).then(() => undefined)]);
  }

  close(): void {
    this.#redis.disconnect();
  }
}
