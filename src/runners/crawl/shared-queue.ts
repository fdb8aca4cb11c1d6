import type { Redis } from 'ioredis';
import { type Clock, pause } from '../../clock.js';
import { type QueueCounts, RedisQueue } from '../../crawl/queue/redis-queue.js';
import { openRedis } from '../../crawl/redis.js';
import { MAX_JOB_DATA_BYTES } from '../../job/limits.js';
import { optionalPackage } from '../../kit/optional-package.js';
import { redisError } from '../../kit/redis-fault.js';
import { KEEP_MS } from './kept-crawls.js';
import type { ResultBook } from './results.js';

/** A Redis that is there answers at once. */
const PING_MS = 3_000;
/** A Redis that is away at the end of a run must not hold it up. */
const LAST_MS = 10_000;
/** Of a result: a longer one has no room anyway. */
const MAX_RESULT_BYTES = MAX_JOB_DATA_BYTES;
/** What this Redis may send in a run: its results, twice over, and many small answers. */
const MAX_RECEIVED_BYTES = 64 * 1024 * 1024;

/** The request queue of a run, as the Worker sees it: not to crawl, but to clear up after containers that died, and to count. */
export class SharedQueue {
  readonly #redis: Redis;
  readonly #queue: RedisQueue;
  readonly #clock: Clock;

  private constructor(redis: Redis, queue: RedisQueue, clock: Clock) {
    this.#redis = redis;
    this.#queue = queue;
    this.#clock = clock;
  }

  /** Rejects with `crawl-redis-unreachable`, or what else `redisError` finds. */
  static async open(url: string, queue: string, proxySocket: string, clock: Clock): Promise<SharedQueue> {
    const redis = openRedis(await optionalPackage('ioredis'), { url, proxySocket, maxReceivedBytes: MAX_RECEIVED_BYTES });
    let fault = new Error('it does not respond');
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
    if (answers) return new SharedQueue(redis, new RedisQueue({ redis, queue, client: 'coordinator' }), clock);
    redis.disconnect();
    throw redisError(fault, 'crawl-redis-unreachable');
  }

  /** Frees what a container that died had claimed, so that the others need not wait for its locks. Answers how much; never rejects. */
  async release(container: string): Promise<number> {
    return (await this.#soon(this.#queue.release(container))) ?? 0;
  }

  /** undefined: Redis does not answer. */
  counts(): Promise<QueueCounts | undefined> {
    return this.#soon(this.#queue.counts());
  }

  /** Enters the results that are only here. Never rejects: what Redis does not give is missing. */
  async enter(book: ResultBook): Promise<void> {
    const enter = async () => {
      for await (const { id, json } of this.#queue.results(MAX_RESULT_BYTES)) if (!book.has(id)) book.add(json);
    };
    await this.#soon(enter());
  }

  /** An attempt has ended: what the next one does not need, because there is none, goes by itself after a day. Never rejects. */
  async expire(): Promise<void> {
    await this.#soon(this.#queue.expire(KEEP_MS));
  }

  /** Nothing will go on from here. Never rejects. */
  async remove(): Promise<void> {
    await this.#soon(this.#queue.remove());
  }

  async #soon<T>(answer: Promise<T>): Promise<T | undefined> {
    return Promise.race([answer.catch(() => undefined), pause(this.#clock, LAST_MS).then(() => undefined)]);
  }

  close(): void {
    this.#redis.disconnect();
  }
}
