import { load } from 'cheerio';
import type { PageQueue } from '../crawl/queue/page-queue.js';
import type { Delivery, PageResult } from './deliver.js';
import { type Environment, Unusable } from './environment.js';
import { extractFields, Handlers, linksOf, outlineOf, titleOf } from './extract.js';
import type { Fetcher } from './fetch.js';
import { Final, type QueuedPage } from './page.js';
import { type PageAnswer, PageClient } from './page-client.js';
import { PageLoop } from './page-loop.js';
import { Robots } from './robots.js';

export const USER_AGENT = 'peerwork-crawler/1.0 (respects robots.txt)';
const MAX_ERROR_CHARS = 500;

export interface Crawl {
  readonly environment: Environment;
  readonly queue: PageQueue;
  readonly fetcher: Fetcher;
  readonly delivery: Delivery;
  readonly say: (line: string) => void;
}

/** Counts of pages that this crawler has handled. */
export interface Tally {
  handled: number;
  failed: number;
}

/** Starts a crawl that works on the queue until it is empty. `wake` makes it check for new pages at once. */
export function startCrawl({ environment, queue, fetcher, delivery, say }: Crawl) {
  const { actor, worker } = environment;
  const tally: Tally = { handled: 0, failed: 0 };
  const userAgent = actor.userAgent ?? USER_AGENT;
  const robots = new Robots(fetcher, userAgent);
  const handlers = new Handlers(actor);
  for (const selector of handlers.selectors) {
    try {
      load('')(selector);
    } catch {
      throw new Unusable(`ACTOR_CONFIG is wrong: ${selector} is not a CSS selector`);
    }
  }

  const checkRobots = async (url: URL) => {
    if (!actor.respectRobotsTxt) return;
    const { failure, allows } = await robots.rules(url);
    if (failure !== undefined) throw new Error(`the robots.txt of ${url.host} could not be read: ${failure.why}`);
    if (!allows(url.href)) throw new Final(`the robots.txt of ${url.host} forbids it`);
  };
  const delayOf = (address: string) => {
    if (!actor.respectRobotsTxt) return actor.delayMs;
    const rules = robots.rules(new URL(address));
    return rules instanceof Promise
      ? rules.then(({ delayMs }) => Math.max(delayMs, actor.delayMs))
      : Math.max(rules.delayMs, actor.delayMs);
  };
  const client = new PageClient({
    fetcher,
    headers: { accept: 'text/html,application/xhtml+xml,*/*;q=0.5', ...actor.headers, 'user-agent': userAgent },
    maxBytes: actor.maxPageBytes,
    timeoutMs: actor.pageTimeoutSecs * 1_000,
    checkRedirect: checkRobots,
  });

  /** A page is not to blame if its result or links cannot be stored, and retrying it would not help. */
  const breakOnFailure = async <T>(safe: Promise<T>): Promise<T> => {
    try {
      return await safe;
    } catch (thrown) {
      loop.break(thrown as Error);
      throw thrown;
    }
  };
  const deliver = (result: PageResult) => breakOnFailure(delivery.deliver(result));
  const visit = async (page: QueuedPage) => {
    await checkRobots(new URL(page.url));
    const answer = await client.read(page.url);
    const { statusCode, url, type } = answer;
    if (url !== page.url) page.loadedUrl = url;
    const { depth } = page;
    const { name, fields, links } = handlers.of(url);
    const $ = documentOf(answer);
    const data = $ === undefined ? {} : extractFields($, fields);
    const outline = $ && outlineOf($);
    const title = $ && outline && titleOf($, outline);
    const facts = { requestId: page.id, url: page.url, loadedUrl: page.loadedUrl };
    const result = { ...facts, statusCode, contentType: type, depth, handler: name, title, data, worker };
    // Links first: a page that counts as handled before its links are known would end the crawl too early.
    if ($ !== undefined && outline !== undefined && links !== undefined && depth < (actor.maxDepth ?? Number.POSITIVE_INFINITY))
      await breakOnFailure(loop.enqueue(await permitted(linksOf($, outline, url, links)), depth + 1));
    await deliver({ ...result, crawledAt: new Date().toISOString() });
    tally.handled += 1;
  };
  const permitted = async (urls: readonly URL[]): Promise<readonly URL[]> => {
    if (!actor.respectRobotsTxt) return urls;
    const allowed: URL[] = [];
    for (const url of urls) {
      const pending = robots.lastRules(url);
      const rules = pending instanceof Promise ? await pending : pending;
      // Without readable rules the page is queued: it is tried later, or reported with the reason.
      if (rules.failure !== undefined || rules.allows(url.href)) allowed.push(url);
    }
    return allowed;
  };
  const loop: PageLoop = new PageLoop({
    queue,
    concurrency: actor.maxConcurrency,
    // Claiming from its own queue costs nothing.
    ahead: environment.shared === undefined ? 0 : actor.maxConcurrency,
    retries: actor.maxRetries,
    idleMs: environment.idleMs,
    delayOf,
    visit,
    onGivenUp: async (page, message) => {
      const error = message.split('\n')[0]?.slice(0, MAX_ERROR_CHARS);
      tally.failed += 1;
      say(`failed ${page.url}: ${error}`);
      await deliver({ requestId: page.id, url: page.url, error, retries: page.retryCount, worker });
    },
  });
  return {
    tally,
    wake: () => loop.wake(),
    /** Resolves when the queue is empty; rejects with the error that made it impossible to continue. */
    run: async () => {
      await loop.enqueue(
        actor.startUrls.map((start) => (typeof start === 'string' ? start : start.url)),
        0,
      );
      await loop.run();
    },
    stop: () => loop.stop(),
  };
}

/** Parses HTML and XML. */
function documentOf({ type, text }: PageAnswer) {
  if (type === 'application/json') return undefined;
  return load(text, { xmlMode: type.includes('xml'), _useHtmlParser2: true } as Parameters<typeof load>[1]);
}
