import type { PageQueue } from '../crawl/queue/page-queue.js';
import type { QueuedRequest } from '../crawl/queue/redis-queue.js';
import { requestId, uniqueKeyOf } from '../crawl/request-id.js';
import { backoffMs } from '../kit/backoff.js';
import { Final, type QueuedPage, readPage, storedPage } from './page.js';

export interface PageLoopOptions {
  readonly queue: PageQueue;
  /** Concurrent pages. */
  readonly concurrency: number;
  /** How many more are claimed while pages are plentiful, so that none waits for the queue. */
  readonly ahead: number;
  /** How often a failed page is retried. */
  readonly retries: number;
  /** Idle time after which the loop ends, even if others still work. */
  readonly idleMs: number;
  /** Minimum interval in milliseconds between two pages of this address's host. */
  readonly delayOf: (url: string) => number | Promise<number>;
  /** Processes one page. A rejection is charged to the page; a rejection with Final is permanent. */
  readonly visit: (page: QueuedPage) => Promise<void>;
  /** Called when a page is given up; resolves once that is stored safely. */
  readonly onGivenUp: (page: QueuedPage, error: string) => Promise<void>;
}

const RENEW_MS = 5_000;
/** How often an idle crawler checks for pages that others added or returned. */
const POLL_INTERVAL_MS = 25;
const FIRST_BACKOFF_MS = 250;
const MAX_BACKOFF_MS = 10_000;
const RECENT = 20_000;

/** Redis has lost the queue, as after a restart without its data. */
export class Forgotten extends Error {}

/**
 * Works on the pages of a queue with limited concurrency. Claims no more than it can soon run, renews the locks of what it holds, delays
 * pages until their host may be requested, retries failed ones, and ends exactly when no page is left anywhere.
 */
export class PageLoop {
  readonly #options: PageLoopOptions;
  /** Claimed and not yet handled, by id. */
  readonly #held = new Map<string, QueuedPage>();
  readonly #ready: QueuedPage[] = [];
  /** Ids of the pages in progress. */
  readonly #running = new Set<string>();
  /** Unique keys that are certainly in the queue, which saves a query for each link of each page. */
  readonly #seen = new Recent(RECENT);
  #busyAt = Date.now();
  #pending = 0;
  #total = 0;
  #stopped = false;
  #polling = false;
  #pollAgain = false;
  #wakeScheduled = false;
  #end: { readonly resolve: () => void; readonly reject: (error: Error) => void } | undefined;
  #broken: Error | undefined;

  constructor(options: PageLoopOptions) {
    this.#options = options;
  }

  /**
   * Resolves when no page is left, or, after `stop`, when the pages in progress are done. Rejects with the error that made it impossible
   * to continue.
   */
  async run(): Promise<void> {
    const renewal = setInterval(() => void this.#renew(), RENEW_MS);
    const polling = setInterval(() => this.wake(), POLL_INTERVAL_MS);
    try {
      await new Promise<void>((resolve, reject) => {
        this.#end = { resolve, reject };
        if (this.#broken !== undefined) reject(this.#broken);
        this.wake();
      });
    } finally {
      clearInterval(renewal);
      clearInterval(polling);
    }
  }

  /** Starts no further page. */
  stop(): void {
    this.#stopped = true;
    this.wake();
  }

  /** Ends the crawl, which cannot continue. */
  break(error: Error): void {
    this.#broken ??= error;
    this.#end?.reject(this.#broken);
  }

  /** Called when there may be a page to run. */
  wake(): void {
    if (this.#wakeScheduled || this.#end === undefined) return;
    this.#wakeScheduled = true;
    setImmediate(() => {
      this.#wakeScheduled = false;
      this.#poll().catch((error: Error) => this.break(error));
    });
  }

  /** Adds pages that the queue does not know yet. */
  async enqueue(urls: readonly (string | URL)[], depth: number): Promise<void> {
    const fresh: QueuedRequest[] = [];
    const keys: string[] = [];
    for (const address of urls) {
      const uniqueKey = uniqueKeyOf(address);
      if (!this.#seen.add(uniqueKey)) continue;
      keys.push(uniqueKey);
      const id = requestId(uniqueKey);
      const url = typeof address === 'string' ? address : address.href;
      fresh.push({ id, json: storedPage({ id, url, uniqueKey, depth, retryCount: 0, errorMessages: [], noRetry: false }) });
    }
    if (fresh.length === 0) return;
    try {
      await this.#options.queue.add(fresh);
    } catch (thrown) {
      for (const key of keys) this.#seen.delete(key);
      throw thrown;
    }
    this.wake();
  }

  async #poll(): Promise<void> {
    this.#start();
    this.#pollAgain = true;
    if (this.#polling) return;
    this.#polling = true;
    try {
      while (this.#pollAgain && this.#broken === undefined) {
        this.#pollAgain = false;
        if (!this.#stopped) await this.#claim();
        this.#start();
      }
    } finally {
      this.#polling = false;
    }
    if (this.#isFinished()) this.#end?.resolve();
  }

  /** Starts ready pages, as far as concurrency allows. */
  #start(): void {
    while (!this.#stopped && this.#broken === undefined && this.#running.size < this.#options.concurrency) {
      const page = this.#ready.shift();
      if (page === undefined) return;
      this.#busyAt = Date.now();
      this.#running.add(page.id);
      this.#run(page).catch((error: Error) => this.break(error));
    }
  }

  async #claim(): Promise<void> {
    const { queue, concurrency, ahead } = this.#options;
    const free = Math.max(0, concurrency - this.#held.size);
    const more = concurrency + ahead - this.#held.size - free;
    // Not for each handled page: one round trip claims many.
    if (free === 0 && more <= ahead / 2) return;
    const { requests, pending, total, known } = await queue.claim(free, Math.max(0, more));
    if (!known) throw new Forgotten('Redis has lost the queue of this crawl');
    this.#pending = pending;
    this.#total = total;
    for (const { id, json } of requests) {
      const page = readPage(id, json);
      this.#held.set(id, page);
      this.#hold(page).catch((error: Error) => this.break(error));
    }
  }

  /** Makes a page ready at once, or when its host may be requested again. */
  async #hold(page: QueuedPage): Promise<void> {
    this.#busyAt = Date.now();
    const { delayOf, queue } = this.#options;
    const delay = delayOf(page.url);
    // Most hosts are known and need no delay: their pages are ready before this returns.
    const everyMs = typeof delay === 'number' ? delay : await delay;
    const waitMs = everyMs === 0 ? 0 : await queue.slot(new URL(page.url).host, everyMs);
    const ready = () => {
      // Another client may have it meanwhile.
      if (this.#held.get(page.id) !== page) return;
      this.#ready.push(page);
      this.wake();
    };
    if (waitMs > 0) setTimeout(ready, waitMs);
    else ready();
  }

  async #run(page: QueuedPage): Promise<void> {
    const { queue, visit, retries, onGivenUp } = this.#options;
    let fault: unknown;
    let failed = false;
    try {
      await visit(page);
    } catch (thrown) {
      fault = thrown;
      failed = true;
    }
    // A page that is unfinished here is left to a later attempt.
    if (this.#broken !== undefined) return;
    if (failed) {
      const message = fault instanceof Error ? fault.message : String(fault);
      page.errorMessages.push(message);
      page.noRetry = fault instanceof Final;
      if (!page.noRetry && page.retryCount < retries) {
        page.retryCount += 1;
        const delayMs = backoffMs(page.retryCount, { firstMs: FIRST_BACKOFF_MS, capMs: MAX_BACKOFF_MS });
        await queue.reclaim(page.id, storedPage(page), { delayMs });
        return this.#release(page);
      }
      await onGivenUp(page, message);
    }
    this.#pending = await queue.handle(page.id, storedPage(page, new Date().toISOString()), failed);
    this.#release(page);
  }

  #release(page: QueuedPage): void {
    this.#held.delete(page.id);
    this.#running.delete(page.id);
    this.#busyAt = Date.now();
    this.wake();
  }

  #isFinished(): boolean {
    if (this.#stopped) return this.#running.size === 0;
    if (this.#held.size > 0) {
      this.#busyAt = Date.now();
      return false;
    }
    if (this.#pending === 0 && this.#total > 0) return true;
    return Date.now() - this.#busyAt >= this.#options.idleMs;
  }

  async #renew(): Promise<void> {
    try {
      await this.#options.queue.join();
      if (this.#held.size === 0) return;
      // Another client has it now: unless it is running already, it need not run here too.
      for (const id of await this.#options.queue.prolong([...this.#held.keys()])) {
        if (this.#running.has(id)) continue;
        this.#held.delete(id);
        const at = this.#ready.findIndex((page) => page.id === id);
        if (at >= 0) this.#ready.splice(at, 1);
      }
    } catch (thrown) {
      this.break(thrown as Error);
    }
  }
}

/** A bounded memory of recent texts: keeps between half of `most` and all of the latest ones. */
export class Recent {
  readonly #half: number;
  #newer = new Set<string>();
  #older = new Set<string>();

  constructor(most: number) {
    this.#half = Math.ceil(most / 2);
  }

  /** Returns false if it was present. */
  add(text: string): boolean {
    if (this.#newer.has(text)) return false;
    const fresh = !this.#older.has(text);
    this.#newer.add(text);
    if (this.#newer.size >= this.#half) {
      this.#older = this.#newer;
      this.#newer = new Set();
    }
    return fresh;
  }

  delete(text: string): void {
    this.#newer.delete(text);
    this.#older.delete(text);
  }
}
