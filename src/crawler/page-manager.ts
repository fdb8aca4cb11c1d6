import { type IRequestManager, Request, RequestState } from '@crawlee/cheerio';
import type { PageQueue } from '../crawl/queue/page-queue.js';
import type { QueuedRequest } from '../crawl/queue/redis-queue.js';
import { requestId, uniqueKeyOf } from '../crawl/request-id.js';
import { LOCAL_JSON, parseJson } from '../kit/json.js';

export interface PageManagerOptions {
  readonly queue: PageQueue;
  /** Pages in work at once. */
  readonly concurrency: number;
  /** Ends when there was nothing to do for so long, although others still work. */
  readonly idleMs: number;
  /** Milliseconds that must lie between two pages of this address's host. */
  readonly delayOf: (url: string) => number | Promise<number>;
  /** A page is given up: resolves once that is safely told. */
  readonly onGivenUp: (request: Request) => Promise<void>;
  /** There may be a page to run. */
  readonly wake: () => void;
}

const RENEW_MS = 5_000;
const FIRST_BACKOFF_MS = 250;
const MAX_BACKOFF_MS = 10_000;

/** Redis has lost the queue, as when it was started again without its data. */
export class Forgotten extends Error {}

/**
 * What Crawlee asks for pages. Claims no more than it can run at once, keeps the locks of what it holds alive, holds pages back until
 * their host may be asked, and ends exactly when no page is left anywhere.
 */
export class PageManager implements IRequestManager {
  readonly #options: PageManagerOptions;
  /** Claimed and not handled, by id. */
  readonly #held = new Map<string, Request>();
  readonly #ready: Request[] = [];
  /** Ids of those that Crawlee runs. */
  readonly #running = new Set<string>();
  /** Unique keys that are in the queue for certain. */
  readonly #seen = new Set<string>();
  readonly #renewal: NodeJS.Timeout;
  #busyAt = Date.now();
  #pending = 0;
  #total = 0;
  #handled = 0;
  #order = 0;
  #broken: Error | undefined;

  constructor(options: PageManagerOptions) {
    this.#options = options;
    this.#renewal = setInterval(() => void this.#renew(), RENEW_MS);
  }

  /** Adds what the queue does not know yet. */
  async enqueue(urls: readonly string[], depth: number): Promise<void> {
    const fresh: QueuedRequest[] = [];
    const keys: string[] = [];
    for (const url of urls) {
      const uniqueKey = uniqueKeyOf(url);
      if (this.#seen.has(uniqueKey)) continue;
      this.#seen.add(uniqueKey);
      keys.push(uniqueKey);
      const id = requestId(uniqueKey);
      this.#order += 1;
      const request = { id, url, uniqueKey, method: 'GET', retryCount: 0, orderNo: Date.now() + this.#order / 1e6, noRetry: false };
      fresh.push({ id, json: JSON.stringify({ ...request, errorMessages: [], userData: { depth } }) });
    }
    try {
      await this.#options.queue.add(fresh);
    } catch (thrown) {
      for (const key of keys) this.#seen.delete(key);
      throw thrown;
    }
    if (fresh.length > 0) this.#options.wake();
  }

  async isEmpty(): Promise<boolean> {
    if (this.#ready.length > 0) return false;
    if (this.#broken !== undefined) throw this.#broken;
    const free = this.#options.concurrency - this.#held.size;
    if (free <= 0) return true;
    const { requests, pending, total, known } = await this.#options.queue.claim(free);
    if (!known) throw new Forgotten('Redis has lost the queue of this crawl');
    this.#pending = pending;
    this.#total = total;
    for (const { id, json } of requests) {
      const { orderNo: _, ...stored } = parseJson(json, LOCAL_JSON) as ConstructorParameters<typeof Request>[0] & {
        readonly orderNo: number;
      };
      const request = new Request({ ...stored, id });
      this.#held.set(id, request);
      this.#hold(request).catch((error: Error) => this.break(error));
    }
    return this.#ready.length === 0;
  }

  /** Ready at once, or when its host may be asked again. */
  async #hold(request: Request): Promise<void> {
    this.#busyAt = Date.now();
    const { delayOf, queue, wake } = this.#options;
    const delay = delayOf(request.url);
    // Most hosts want no delay and are known: their pages are ready before this returns.
    const everyMs = typeof delay === 'number' ? delay : await delay;
    const waitMs = everyMs === 0 ? 0 : await queue.slot(new URL(request.url).host, everyMs);
    const ready = () => {
      // Another may have it meanwhile.
      if (this.#held.get(request.id ?? '') !== request) return;
      this.#ready.push(request);
      wake();
    };
    if (waitMs > 0) setTimeout(ready, waitMs);
    else ready();
  }

  /** The crawl cannot go on. */
  break(error: Error): void {
    this.#broken ??= error;
    this.#options.wake();
  }

  async isFinished(): Promise<boolean> {
    if (this.#broken !== undefined) throw this.#broken;
    if (this.#held.size > 0) {
      this.#busyAt = Date.now();
      return false;
    }
    if (this.#pending === 0 && this.#total > 0) return true;
    return Date.now() - this.#busyAt >= this.#options.idleMs;
  }

  async fetchNextRequest<T extends Record<string, unknown>>(): Promise<Request<T> | null> {
    const request = this.#ready.shift() ?? null;
    if (request !== null) {
      this.#busyAt = Date.now();
      this.#running.add(request.id ?? '');
    }
    return request as Request<T> | null;
  }

  async markRequestHandled(request: Request): Promise<null> {
    const failed = request.state === RequestState.ERROR_HANDLER;
    if (failed) await this.#options.onGivenUp(request);
    request.handledAt = new Date().toISOString();
    this.#pending = await this.#options.queue.handle(request.id ?? '', stored(request), failed);
    this.#handled += 1;
    this.#let(request);
    return null;
  }

  async reclaimRequest(request: Request): Promise<null> {
    const delayMs = Math.min(FIRST_BACKOFF_MS * 2 ** Math.max(0, request.retryCount - 1), MAX_BACKOFF_MS);
    await this.#options.queue.reclaim(request.id ?? '', stored(request), { delayMs });
    this.#let(request);
    return null;
  }

  #let(request: Request): void {
    this.#held.delete(request.id ?? '');
    this.#running.delete(request.id ?? '');
    this.#busyAt = Date.now();
    this.#options.wake();
  }

  async handledCount(): Promise<number> {
    return this.#handled;
  }

  getTotalCount(): number {
    return this.#total;
  }

  getPendingCount(): number {
    return this.#pending;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Request> {
    for (let request = await this.fetchNextRequest(); request !== null; request = await this.fetchNextRequest()) yield request;
  }

  addRequest(): Promise<never> {
    return Promise.reject(new Error('pages are added by enqueue'));
  }

  addRequestsBatched(): Promise<never> {
    return Promise.reject(new Error('pages are added by enqueue'));
  }

  close(): void {
    clearInterval(this.#renewal);
  }

  async #renew(): Promise<void> {
    try {
      await this.#options.queue.join();
      if (this.#held.size === 0) return;
      // Another has it now: what does not run yet need not run here too.
      for (const id of await this.#options.queue.prolong([...this.#held.keys()])) {
        if (this.#running.has(id)) continue;
        this.#held.delete(id);
        const at = this.#ready.findIndex((request) => request.id === id);
        if (at >= 0) this.#ready.splice(at, 1);
      }
    } catch (thrown) {
      this.break(thrown as Error);
    }
  }
}

function stored(request: Request): string {
  const { id, url, uniqueKey, method, retryCount, errorMessages, handledAt, noRetry, loadedUrl } = request;
  const { depth } = request.userData as { readonly depth?: number };
  return JSON.stringify({ id, url, uniqueKey, method, retryCount, noRetry, loadedUrl, handledAt, errorMessages, userData: { depth } });
}
