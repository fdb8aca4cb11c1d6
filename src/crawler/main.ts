import * as ioredis from 'ioredis';
import { PROGRESS_MARK } from '../crawl/progress.js';
import { wakeChannel } from '../crawl/queue/keys.js';
import { MemoryQueue } from '../crawl/queue/memory-queue.js';
import type { PageQueue } from '../crawl/queue/page-queue.js';
import { RedisQueue } from '../crawl/queue/redis-queue.js';
import { openRedis } from '../crawl/redis.js';
import { forListening } from '../kit/redis-retry.js';
import { startCrawl } from './crawl.js';
import { openDelivery, post } from './deliver.js';
import { type Environment, readEnvironment, Unusable } from './environment.js';
import { Fetcher } from './fetch.js';
import { KeptQueue } from './kept-queue.js';

/**
 * The program in the crawler's container, configured by variables (docs/crawls.md). Exits with 0 when the crawl is done, 1 if not a
 * single page could be read or it could not continue, 2 if its settings are invalid, 143 after SIGTERM.
 */
const EXIT_FAILED = 1;
const EXIT_UNUSABLE = 2;
const EXIT_STOPPED = 143;
const PROGRESS_MS = 1_000;
/** How long to wait for the other containers before the first page is requested. */
const BARRIER_MS = 5_000;
const BARRIER_LOOK_MS = 20;

const say = (line: string) => console.log(line);

async function main(): Promise<number> {
  const environment = readEnvironment(process.env);
  const { shared, proxySocket, actor } = environment;
  const pages = new Fetcher(proxySocket, { verify: false });
  const api = new Fetcher(proxySocket, { verify: true });
  const redis = shared && openRedis(ioredis, { url: shared.redisUrl, proxySocket });
  const sharedQueue =
    shared && redis && new RedisQueue({ redis, queue: shared.queue, client: environment.worker, maxRequests: actor.maxPages });
  // If results are returned in the outcome, this attempt stores in Redis what it has read, for the next attempt of the job.
  const comesBack = environment.resultsFolder !== undefined && environment.api === undefined;
  const delivery = await openDelivery(environment, api, comesBack ? sharedQueue && ((results) => sharedQueue.keep(results)) : undefined);
  let own: KeptQueue | undefined;
  let progress: ReturnType<typeof reportProgress> | undefined;
  try {
    if (sharedQueue === undefined && comesBack) own = await KeptQueue.open(environment.resultsFolder ?? '', actor.maxPages);
    const queue: PageQueue = sharedQueue ?? own ?? new MemoryQueue(actor.maxPages);
    const crawl = startCrawl({ environment, queue, fetcher: pages, delivery, say });
    const subscriber = redis && forListening(redis.duplicate());
    subscriber?.on('error', () => {}).on('message', crawl.wake);
    if (shared) await subscriber?.subscribe(wakeChannel(shared.queue));
    let stopped = false;
    process.once('SIGTERM', () => {
      stopped = true;
      crawl.stop();
    });
    progress = reportProgress(queue, crawl.tally);
    try {
      await waitForContainers(queue, environment);
      await crawl.run();
    } finally {
      await progress.end();
      subscriber?.disconnect();
    }
    const { handled, failed } = await queue.counts();
    // One bad page must not fail a crawl, and neither must one container that got only bad ones.
    const exitCode = stopped ? EXIT_STOPPED : failed > 0 && failed === handled ? EXIT_FAILED : 0;
    say(
      `${crawl.tally.handled} pages read, ${crawl.tally.failed} failed; ${handled} of the whole crawl are handled, ${failed} of them failed`,
    );
    if (environment.api !== undefined && shared === undefined && !stopped) {
      await postStatus(api, environment, exitCode, crawl.tally);
      progress.acknowledged();
    }
    return exitCode;
  } catch (thrown) {
    if (environment.api !== undefined && shared === undefined)
      await postStatus(api, environment, EXIT_FAILED, undefined, thrown).then(progress?.acknowledged, () => {});
    throw thrown;
  } finally {
    redis?.disconnect();
    await own?.close();
    await delivery.close();
  }
}

/** Waits until all containers have joined or a time limit has passed: the first one would otherwise claim most of a small crawl. */
async function waitForContainers(queue: PageQueue, { containers }: Environment): Promise<void> {
  for (const startedAt = Date.now(); (await queue.join()) < containers && Date.now() - startedAt < BARRIER_MS; )
    await new Promise((resolve) => setTimeout(resolve, BARRIER_LOOK_MS));
}

/** Prints progress for the reader of the output, at most one line a second and one at the end. */
function reportProgress(queue: PageQueue, tally: { readonly handled: number; readonly failed: number }) {
  let lastLine = '';
  let last = { handled: 0, failed: 0, total: 0, pending: 0, full: false };
  const print = async () => {
    const { total, pending, full } = await queue.counts();
    last = { handled: tally.handled + tally.failed, failed: tally.failed, total, pending, full };
    const line = JSON.stringify(last);
    if (line !== lastLine) say(`${PROGRESS_MARK}${line}`);
    lastLine = line;
  };
  const timer = setInterval(() => void print().catch(() => {}), PROGRESS_MS);
  return {
    end: async () => {
      clearInterval(timer);
      await print().catch(() => {});
    },
    /** The API has acknowledged the final status of the run. */
    acknowledged: () => say(`${PROGRESS_MARK}${JSON.stringify({ ...last, told: true })}`),
  };
}

async function postStatus(api: Fetcher, environment: Environment, exitCode: number, stats?: object, thrown?: unknown): Promise<void> {
  if (environment.api === undefined) return;
  const status = exitCode === 0 ? 'completed' : 'failed';
  const error = thrown instanceof Error ? thrown.message : undefined;
  await post(
    api,
    environment.api,
    `/api/runs/${encodeURIComponent(environment.runId)}/status`,
    JSON.stringify({ status, exitCode, stats, error }),
  );
}

main().then(
  // Not left to the event loop: a hanging page must not keep the container alive.
  (exitCode) => process.exit(exitCode),
  (thrown: unknown) => {
    // Only the message: a stack would quote a line of the bundle, which is the whole bundle.
    console.error(thrown instanceof Error ? thrown.message : String(thrown));
    process.exit(thrown instanceof Unusable ? EXIT_UNUSABLE : EXIT_FAILED);
  },
);
