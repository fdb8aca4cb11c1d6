import type { IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';
import {
  CheerioCrawler,
  type CheerioCrawlerOptions,
  type CheerioCrawlingContext,
  Configuration,
  log as crawleeLog,
  KeyValueStore,
  NonRetryableError,
  type Request,
} from '@crawlee/cheerio';
import { load } from 'cheerio';
import type { PageQueue } from '../crawl/queue/page-queue.js';
import { type Delivery, type PageResult, Undeliverable } from './deliver.js';
import { type Environment, Unusable } from './environment.js';
import { extractFields, Handlers, linksOf, titleOf } from './extract.js';
import type { Fetcher } from './fetch.js';
import { noStorage } from './no-storage.js';
import { PageClient } from './page-client.js';
import { PageManager } from './page-manager.js';
import { Robots } from './robots.js';

export const USER_AGENT = 'peerwork-crawler/1.0 (respects robots.txt)';
const MAX_ERROR_CHARS = 500;
/** How often an idle crawler looks for pages that others added or gave back. */
const LOOK_SECS = 0.025;
/** Longer than a result may take to its place. */
const HANDLER_SECS = 120;

// Crawlee looks for storage by the name of the class, which bundling changes.
Object.defineProperty(KeyValueStore, 'name', { value: 'KeyValueStore' });
// What happened is told by lines of our own.
crawleeLog.setLevel(crawleeLog.LEVELS.OFF);

/** Takes its pages from a queue of ours, which its options know but refuse, and reads each once; the original parses it twice. */
class PageCrawler extends CheerioCrawler {
  constructor(pages: PageManager, options: CheerioCrawlerOptions, configuration: Configuration) {
    super(options, configuration);
    this.requestManager = pages;
  }

  protected override async _parseHTML(response: IncomingMessage, isXml: boolean) {
    const body = await text(response);
    const $ = load(body, { xmlMode: isXml, _useHtmlParser2: true } as Parameters<typeof load>[1]);
    return { dom: $.root()[0], $, body, enqueueLinks: () => Promise.reject(new Error('links are followed by hand')) } as never;
  }
}

export interface Crawl {
  readonly environment: Environment;
  readonly queue: PageQueue;
  readonly fetcher: Fetcher;
  readonly delivery: Delivery;
  readonly say: (line: string) => void;
}

/** Pages that this crawler has done. */
export interface Tally {
  handled: number;
  failed: number;
}

/** Works on the queue until nothing is left in it. `wake` has it look for new pages at once. */
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
  let crawler: CheerioCrawler | undefined;
  let stopped = false;
  const wake = () => void crawler?.autoscaledPool?.notify();

  const forbid = async (url: URL) => {
    if (!actor.respectRobotsTxt) return;
    if (!(await robots.rules(url)).allows(url.href)) throw new NonRetryableError(`the robots.txt of ${url.host} forbids it`);
  };
  const delayOf = (address: string) => {
    if (!actor.respectRobotsTxt) return actor.delayMs;
    const rules = robots.rules(new URL(address));
    return rules instanceof Promise
      ? rules.then(({ delayMs }) => Math.max(delayMs, actor.delayMs))
      : Math.max(rules.delayMs, actor.delayMs);
  };
  const manager = new PageManager({
    queue,
    concurrency: actor.maxConcurrency,
    idleMs: environment.idleMs,
    delayOf,
    wake,
    onGivenUp: async (request) => {
      const error = (request.errorMessages.at(-1) ?? 'it failed')
        .replace(/^Error: /, '')
        .split('\n')[0]
        ?.slice(0, MAX_ERROR_CHARS);
      tally.failed += 1;
      say(`failed ${request.url}: ${error}`);
      await deliver({ requestId: request.id ?? '', url: request.url, error, retries: request.retryCount, worker });
    },
  });

  /** A page whose result has no place to go is not to blame, and trying it again would not help. */
  const deliver = async (result: PageResult) => {
    try {
      await delivery.deliver(result);
    } catch (thrown) {
      if (thrown instanceof Undeliverable) manager.break(thrown);
      throw thrown;
    }
  };
  const handle = async ({ request, response, $, contentType }: CheerioCrawlingContext) => {
    const { statusCode } = response;
    const loadedUrl = request.loadedUrl ?? request.url;
    const depth = depthOf(request);
    const { name, fields, links } = handlers.of(loadedUrl);
    const data = $ === undefined ? {} : extractFields($, fields);
    const title = $ === undefined ? undefined : titleOf($);
    const facts = { requestId: request.id ?? '', url: request.url, ...(loadedUrl !== request.url && { loadedUrl }) };
    const result = { ...facts, statusCode, contentType: contentType.type, depth, handler: name, title, data, worker };
    // The links first: a page that is handled with its links unknown would end the crawl too early.
    if ($ !== undefined && links !== undefined && depth < (actor.maxDepth ?? Number.POSITIVE_INFINITY))
      await manager.enqueue(await permitted(linksOf($, loadedUrl, links)), depth + 1);
    await deliver({ ...result, crawledAt: new Date().toISOString() });
    tally.handled += 1;
  };
  const permitted = async (urls: readonly URL[]): Promise<string[]> => {
    if (!actor.respectRobotsTxt) return urls.map(({ href }) => href);
    const allowed = await Promise.all(urls.map(async (url) => (await robots.rules(url)).allows(url.href)));
    return urls.filter((_, at) => allowed[at]).map(({ href }) => href);
  };

  const running = new PageCrawler(
    manager,
    {
      httpClient: new PageClient(fetcher, actor.maxPageBytes, forbid),
      requestHandler: handle,
      preNavigationHooks: [
        async ({ request }, options) => {
          await forbid(new URL(request.url));
          options.headers = { accept: 'text/html,application/xhtml+xml,*/*;q=0.5', ...actor.headers, 'user-agent': userAgent };
        },
      ],
      minConcurrency: actor.maxConcurrency,
      maxConcurrency: actor.maxConcurrency,
      maxRequestRetries: actor.maxRetries,
      navigationTimeoutSecs: actor.pageTimeoutSecs,
      requestHandlerTimeoutSecs: HANDLER_SECS,
      useSessionPool: false,
      persistCookiesPerSession: false,
      statisticsOptions: { persistenceOptions: { enable: false } },
      autoscaledPoolOptions: { maybeRunIntervalSecs: LOOK_SECS, loggingIntervalSecs: null },
    },
    new Configuration({ persistStorage: false, purgeOnStart: false, systemInfoV2: true, storageClient: noStorage }),
  );
  crawler = running;
  return {
    tally,
    wake,
    /** Resolves when nothing is left; rejects with what made it impossible to go on. */
    run: async () => {
      try {
        await manager.enqueue(
          actor.startUrls.map((start) => (typeof start === 'string' ? start : start.url)),
          0,
        );
        // What is stopped before it runs would run all the same.
        if (!stopped) await running.run();
      } finally {
        manager.close();
      }
    },
    stop: () => {
      stopped = true;
      running.stop();
    },
  };
}

function depthOf(request: Request): number {
  return Number((request.userData as { readonly depth?: number }).depth ?? 0);
}
