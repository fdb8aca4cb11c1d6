import type { Redis } from 'ioredis';
import { type Clock, pause } from '../../../clock.js';
import { asPeerworkError } from '../../../errors.js';
import { optionalPackage } from '../../../kit/optional-package.js';
import { redisRetry } from '../../../kit/redis-retry.js';
import { type RedisPlace, redisClientOptions } from '../../../kit/redis-url.js';
import type { Log } from '../../../log.js';

const ioredis = await optionalPackage('ioredis');

export interface SharedMarksOptions {
  /** The run queue's, and its name. */
  readonly redis: RedisPlace;
  readonly queue: string;
  readonly workerId: string;
  /** How long a sign of life lasts. */
  readonly staleMs: number;
  readonly clock: Clock;
  readonly log: Log;
}

/** In front of BullMQ's keys of a queue, and of ours: whoever is allowed only these by an ACL is allowed both. */
const PREFIX = 'bull';
const ANSWER_MS = 2_000;
const RECONNECT_MS = 200;
const MAX_RECONNECT_MS = 2_000;
/** Longer than any run: whether a mark still says something is told by the lock of its job. */
const RUN_MS = 24 * 3_600_000;
/**
 * The run's mark becomes ours unless it is that of another job whose lock lives. 1: it is ours. BullMQ's lock of a job is `<job's key>:lock`, of
 * whatever version (docs.bullmq.io, "Stalled Jobs").
 */
const TAKE = `
  local held = redis.call('GET', KEYS[1])
  if held and held ~= ARGV[1] and redis.call('EXISTS', ARGV[3] .. held .. ':lock') == 1 then return 0 end
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return 1`;
const DROP = `if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0`;

/**
 * What the Workers of one dory-api tell each other through the Redis of the run queue, because the API has no call for it: which job has a run,
 * so that a run which is enqueued twice is run once, and who is alive, so that nobody waits for a helper that is not. Both only make things
 * better: without them (no rights, Redis away) a run goes on as if nobody had said anything. No method rejects, or takes long.
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
      commandTimeout: ANSWER_MS,
    });
    // The run queue tells the same, and more.
    this.#redis.on('error', () => {});
  }

  /** False: another job, whose lock lives, has the run. */
  async takeRun(runId: string, jobId: string): Promise<boolean> {
    const jobs = `${PREFIX}:${this.#options.queue}:`;
    const taken = await this.#ask(() => this.#redis.eval(TAKE, 1, this.#keyOfRun(runId), jobId, RUN_MS, jobs));
    return taken !== 0;
  }

  async dropRun(runId: string, jobId: string): Promise<void> {
    await this.#ask(() => this.#redis.eval(DROP, 1, this.#keyOfRun(runId), jobId));
  }

  /** This Worker lives. */
  async live(): Promise<void> {
    const { workerId, staleMs } = this.#options;
    await this.#ask(() => this.#redis.set(this.#keyOfWorker(workerId), '1', 'PX', staleMs));
  }

  /** Those of the Workers that have told so lately. */
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
    const enough = new AbortController();
    const asked = ask().catch((thrown: unknown) => {
      log.debug('the other Workers could not be notified or queried', { error: asPeerworkError(thrown) });
      return undefined;
    });
    try {
      return await Promise.race([asked, pause(clock, ANSWER_MS, enough.signal).then(() => undefined)]);
    } finally {
      enough.abort();
    }
  }
}
