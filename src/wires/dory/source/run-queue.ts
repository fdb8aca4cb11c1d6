import { randomUUID } from 'node:crypto';
import type { Job, Worker } from 'bullmq';
import { type Clock, pause } from '../../../clock.js';
import type { PeerworkError } from '../../../errors.js';
import { optionalPackage } from '../../../kit/optional-package.js';
import { redisError } from '../../../kit/redis-fault.js';
import { redisRetry } from '../../../kit/redis-retry.js';
import { type RedisPlace, redisClientOptions } from '../../../kit/redis-url.js';
import type { Log } from '../../../log.js';
import { DoryError } from '../errors.js';
import { HeldJob } from './held-job.js';
import type { DoryTiming } from './timing.js';

const bullmq = await optionalPackage('bullmq');

/** A crash of the Worker that holds a job counts as one stall; a run that keeps crashing its Workers fails after this many. */
const MAX_STALLED = 3;
const RETRY_MS = 1_000;
/** An empty reply that arrives sooner did not block: the queue is paused or rate-limited. */
const NON_BLOCKING_MS = 20;
const RECONNECT_MS = 200;
const MAX_RECONNECT_MS = 2_000;
const CLOSE_MS = 2_000;

export interface RunQueueOptions {
  readonly name: string;
  readonly redis: RedisPlace;
  readonly workerId: string;
  readonly timing: DoryTiming;
  readonly clock: Clock;
  readonly log: Log;
  readonly warning: (error: PeerworkError) => void;
}

/**
 * The BullMQ queue of runs, one job at a time. BullMQ's blocking fetch cannot be cancelled, so at most one is in flight; it is kept open
 * from one `next` to the following, and a job that arrives while nobody is waiting goes straight back to the front of the queue.
 */
export class RunQueue {
  readonly #options: RunQueueOptions;
  #worker: Worker;
  readonly #closing = new AbortController();
  #taker: ((job: HeldJob | undefined) => void) | undefined;
  #pumping = false;
  /** Number of consecutive replies that did not block. */
  #nonBlocking = 0;
  #up = false;

  constructor(options: RunQueueOptions) {
    this.#options = options;
    this.#worker = this.#open();
  }

  /** Whether Redis was reachable at the last contact. */
  get up(): boolean {
    return this.#up;
  }

  /** Waits for a job; resolves with undefined when the signal aborts or the queue is closed. Only one call at a time. */
  next(signal: AbortSignal): Promise<HeldJob | undefined> {
    if (signal.aborted || this.#closing.signal.aborted) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      const taker = (job: HeldJob | undefined) => {
        signal.removeEventListener('abort', withdraw);
        if (this.#taker === taker) this.#taker = undefined;
        resolve(job);
      };
      const withdraw = () => taker(undefined);
      signal.addEventListener('abort', withdraw);
      this.#taker = taker;
      if (!this.#pumping) void this.#pump();
    });
  }

  /** Reclaims a job that an earlier process of this Worker held; undefined if its lock is no longer ours. */
  async reclaim(id: string, token: string): Promise<HeldJob | undefined> {
    const job = await bullmq.Job.fromId(this.#worker, id);
    if (job === undefined || (await job.extendLock(token, this.#options.timing.lockMs)) !== 1) return undefined;
    return this.#hold(job, token);
  }

  async close(): Promise<void> {
    this.#closing.abort();
    this.#taker?.(undefined);
    // Forced close: waits for nothing that needs a reachable Redis.
    const closed = new AbortController();
    const closing = this.#worker.close(true).finally(() => closed.abort());
    await Promise.race([closing, pause(this.#options.clock, CLOSE_MS, closed.signal)]);
  }

  #open(): Worker {
    const { name, redis, workerId, timing } = this.#options;
    const retry = redisRetry({ firstMs: RECONNECT_MS, capMs: MAX_RECONNECT_MS, resend: false });
    const worker = new bullmq.Worker(name, null, {
      connection: { ...redisClientOptions(redis), maxRetriesPerRequest: null, ...retry.options },
      autorun: false,
      name: workerId,
      lockDuration: timing.lockMs,
      stalledInterval: timing.stalledMs,
      maxStalledCount: MAX_STALLED,
    });
    // Without a listener, an 'error' event would crash the process; BullMQ reconnects by itself.
    worker.on('error', (error) => this.#fault(error));
    worker.on('ready', () => {
      this.#up = true;
    });
    void worker.startStalledCheckTimer().catch((error: unknown) => this.#fault(error));
    return worker;
  }

  /**
   * BullMQ requests the server's version once: a client for which that failed, for lack of permission or of a primary, stays broken
   * forever.
   */
  async #renewIfBroken(): Promise<void> {
    const broken = this.#worker;
    const isBroken = await Promise.race([
      broken.waitUntilReady().then(
        () => false,
        () => true,
      ),
      pause(this.#options.clock, 0).then(() => false),
    ]);
    if (!isBroken || this.#closing.signal.aborted || this.#worker !== broken) return;
    this.#worker = this.#open();
    await broken.close(true).catch(() => {});
  }

  async #pump(): Promise<void> {
    const { clock } = this.#options;
    this.#pumping = true;
    while (this.#taker !== undefined) {
      const token = randomUUID();
      const requestedAt = clock.now();
      try {
        const job = (await this.#worker.getNextJob(token)) as Job | undefined;
        this.#up = true;
        // BullMQ polls once before it blocks: a single reply that did not block proves nothing, several in a row do.
        const nonBlocking = job === undefined && clock.now() - requestedAt < NON_BLOCKING_MS;
        this.#nonBlocking = nonBlocking ? this.#nonBlocking + 1 : 0;
        if (job !== undefined) await this.#deliver(this.#hold(job, token));
        else if (this.#nonBlocking > 2) await pause(clock, RETRY_MS, this.#closing.signal);
      } catch (error) {
        this.#fault(error);
        await pause(clock, RETRY_MS, this.#closing.signal);
        await this.#renewIfBroken();
      }
    }
    // Nothing may be awaited between the last check of `#taker` and this line.
    this.#pumping = false;
  }

  async #deliver(job: HeldJob): Promise<void> {
    const taker = this.#taker;
    if (taker === undefined) await job.giveBack();
    else taker(job);
  }

  #hold(job: Job, token: string): HeldJob {
    const { timing, clock, log } = this.#options;
    return new HeldJob({ job, token, timing, clock, log });
  }

  #fault(fault: unknown): void {
    if (this.#closing.signal.aborted) return;
    this.#up = false;
    this.#options.warning(redisError(fault, DoryError.of('dory-redis-unreachable')));
  }
}
