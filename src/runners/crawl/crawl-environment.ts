import { rewriteLocalhost } from '../../containers/engine-facts.js';
import type { CrawlJob } from '../../job/crawl.js';
import type { CheckedCrawl } from './crawl-job.js';
import { redisUrlOf } from './run-egress.js';

const DEFAULT_IDLE_SECS = 15;
/** Share of the container's memory for Node's heap; the rest is for its code, buffers and threads. */
const HEAP_SHARE = 0.7;

export interface ContainerPlan {
  /** Id of the container in the queue. */
  readonly id: string;
  readonly memoryMb: number;
  /** Whether it is our crawler, which supports more than dory's variables. */
  readonly ownImage: boolean;
  /** With the address by which the container reaches it. */
  readonly api: CrawlJob['api'];
  /** Name by which the container reaches this machine. */
  readonly hostName: string;
}

/** Returns the variables of a container: dory's, and ours with the prefix PEERWORK. */
export function crawlEnvironment(crawl: CheckedCrawl, { id, memoryMb, ownImage, api, hostName }: ContainerPlan): Record<string, string> {
  const { actor, runId, timeoutSecs } = crawl;
  const config = 'runId' in actor ? actor : { ...actor, runId };
  const env: Record<string, string> = { ACTOR_CONFIG: Buffer.from(JSON.stringify(config)).toString('base64'), RUN_ID: runId };
  if (api !== undefined) Object.assign(env, { API_BASE_URL: api.baseUrl, WORKER_API_KEY: api.key });
  if (crawl.memoryMb !== undefined) env['CRAWLEE_MEMORY_MBYTES'] = String(memoryMb);
  if (ownImage) env['NODE_OPTIONS'] = heapOptions(memoryMb);
  const redisUrl = redisUrlOf(crawl);
  if (redisUrl !== undefined) {
    const idleSecs = timeoutSecs === undefined ? DEFAULT_IDLE_SECS : Math.max(1, Math.floor(Math.min(DEFAULT_IDLE_SECS, timeoutSecs / 2)));
    Object.assign(env, {
      REDIS_URL: rewriteLocalhost(redisUrl, hostName),
      QUEUE_NAME: crawl.queue,
      WORKER_ID: id,
      IDLE_TIMEOUT_SECS: String(idleSecs),
    });
    if (ownImage) env['PEERWORK_CRAWLERS'] = String(crawl.containers);
  }
  return env;
}

/**
 * V8 does not derive its limits from the container's. In a container it makes the young generation so small that a fifth of the time is
 * spent collecting it: with semi-spaces of 16 MiB, 1,000 pages reach 0.53 of the rate of a bare loop instead of 0.40.
 */
function heapOptions(memoryMb: number): string {
  const semiMb = Math.max(1, Math.min(16, Math.floor(memoryMb / 16)));
  return `--max-old-space-size=${Math.floor(memoryMb * HEAP_SHARE)} --max-semi-space-size=${semiMb}`;
}
