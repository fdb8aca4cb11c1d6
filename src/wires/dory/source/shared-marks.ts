import type { Redis } from 'ioredis';
import { type Clock, pause } from '../../../clock.js';
import { asPeerworkError } from '../../../errors.js';
import { optionalPackage } from '../../../kit/optional-package.js';
import { redisRetry } from '../../../kit/redis-retry.js';
import { type RedisPlace, redisClientOptions } from '../../../kit/redis-url.js';
import type { Log } from '../../../log.js';

const ioredis = await optionalPackage('ioredis');

export interface SharedMarksOptions {
  /** Redis and name of the run queue. */
  readonly redis: RedisPlace;
  readonly queue: string;
  readonly workerId: string;
  /** How long a sign of life is valid, in ms. */
  readonly staleMs: number;
  readonly clock: Clock;
  readonly log: Log;
}

/** Prefix of BullMQ's keys and ours: an ACL that permits BullMQ's keys then permits ours as well. */
const PREFIX = 'bull';
const REPLY_MS = 2_000;
const RECONNECT_MS = 200;
const MAX_RECONNECT_MS = 2_000;
/** Expiry of a run's mark, longer than any run; whether the mark is still valid is determined by the lock of its job. */
const RUN_MS = 24 * 3_600_000;
/**
 * Sets the run's mark unless it names another job whose lock is alive. Returns 1 if the mark is ours. In every version of BullMQ the lock
 * of a job is `<job's key>:lock` (docs.bullmq.io, "Stalled Jobs").
 */
const TAKE = `
  local held = redis.call('GET', KEYS[1])
  if held and held ~= ARGV[1] and redis.call('EXISTS', ARGV[3] .. held .. ':lock') == 1 then return 0 end
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return 1`;
const DROP = `if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0`;

/**
 * Information that the Workers of one dory-api share through the Redis of the run queue, because the API has no call for it: which job has
 * a run, so that a run that is enqueued twice runs once, and which Workers are alive, so that nobody waits for a dead helper. Both are best
 * effort: without them (no permission, Redis unreachable) a run proceeds as if no mark existed. No method rejects or takes long.
 */
export class SharedMarks {
  readonly #options: SharedMarksOptions;
  readonly #redis: Redis;

  constructor(options: SharedMarksOptions) {
    this.#options = options;
    const retry = redisRetry({ firstMs: RECONNECT_MS, capMs: MAX_RECONNECT_MS, resend: false });
    this.#redis = new ioredis.Redis({
      ...redisClientOptions(options.redis),
      ...retry.options,
      lazyConnect: true,
      maxRetriesPerRequest: 1,
      commandTimeout: REPLY_MS,
    });
    // The run queue reports the same errors, and more.
    this.#redis.on('error', () => {});
  }

  /** Resolves with false if another job, whose lock is alive, has the run. */
  async takeRun(runId: string, jobId: string): Promise<boolean> {
    const jobs = `${PREFIX}:${this.#options.queue}:`;
    const taken = await this.#ask(() => this.#redis.eval(TAKE, 1, this.#keyOfRun(runId), jobId, RUN_MS, jobs));
    return taken !== 0;
  }

  async dropRun(runId: string, jobId: string): Promise<void> {
    await this.#ask(() => this.#redis.eval(DROP, 1, this.#keyOfRun(runId), jobId));
  }

  /** Leaves a sign of life of this Worker. */
  async signalAlive(): Promise<void> {
    const { workerId, staleMs } = this.#options;
    await this.#ask(() => this.#redis.set(this.#keyOfWorker(workerId), '1', 'PX', staleMs));
  }

  /** Returns those Workers that have left a recent sign of life. */
  async alive(workerIds: readonly string[]): Promise<ReadonlySet<string>> {
    if (workerIds.length === 0) return new Set();
    const found = await this.#ask(() => this.#redis.mget(workerIds.map((id) => this.#keyOfWorker(id))));
    return new Set(workerIds.filter((_, at) => typeof found?.[at] === 'string'));
  }

  async close(): Promise<void> {
    if (this.#redis.status === 'ready') await this.#ask(() => this.#redis.del(this.#keyOfWorker(this.#options.workerId)));
    this.#redis.disconnect();
  }

  #keyOfRun(runId: string): string {
    return `${PREFIX}:${this.#options.queue}:peerwork:run:${runId}`;
  }

  #keyOfWorker(workerId: string): string {
    return `${PREFIX}:${this.#options.queue}:peerwork:worker:${workerId}`;
  }

  async #ask<T>(ask: () => Promise<T>): Promise<T | undefined> {
    const { clock, log } = this.#options;
    const finished = new AbortController();
    const settled = ask().catch((thrown: unknown) => {
      log.debug('the other Workers could not be notified or queried', { error: asPeerworkError(thrown) });
      return undefined;
    });
    try {
      return await Promise.race([settled, pause(clock, REPLY_MS, finished.signal).then(() => undefined)]);
    } finally {
      finished.abort();
    }
  }
}
