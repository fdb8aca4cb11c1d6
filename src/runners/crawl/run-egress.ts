import type { Egress } from '../../containers/egress/egress.js';
import { hostName, rewriteLocalhost } from '../../containers/engine-facts.js';
import { PublicInternet } from '../../egress/addresses.js';
import { effectivePolicy } from '../../egress/policy.js';
import { EgressProxy } from '../../egress/proxy.js';
import { TUNNEL_NAME } from '../../egress/reach.js';
import { PeerworkError } from '../../errors.js';
import type { Job } from '../../job/job.js';
import type { RunContext } from '../../job/runner.js';
import { readRedisUrl } from '../../kit/redis-url.js';
import type { CrawlHost, HeldImage } from './crawl-host.js';
import type { CheckedCrawl } from './crawl-job.js';

export interface RunEgress {
  readonly containerEgress: Egress;
  /** URL of the run's Redis as its containers reach it; undefined if its queue is not shared. */
  readonly redisUrl: string | undefined;
  /** Our own path to it, subject to the same rules: an address in a job must not give us access to anything that it may not reach. */
  readonly proxySocket: string | undefined;
  close(): Promise<void>;
}

/** Returns the Redis of a shared queue: the configured one, else the one at the other end of the job's tunnel. */
export function redisUrlOf(crawl: CheckedCrawl): string | undefined {
  return crawl.shared ? (crawl.redisUrl ?? `redis://${TUNNEL_NAME}:6379`) : undefined;
}

/** Opens the network of one crawl: the public internet, its Redis and its API. Rejects with `egress-unavailable`. */
export async function openRunEgress(
  { engine, log, internet = new PublicInternet() }: CrawlHost,
  {
    job,
    crawl,
    image,
    context,
  }: { readonly job: Job; readonly crawl: CheckedCrawl; readonly image: HeldImage; readonly context: RunContext },
): Promise<RunEgress> {
  const host = hostName(engine.facts);
  const redis = redisUrlOf(crawl);
  const redisUrl = redis === undefined ? undefined : rewriteLocalhost(redis, host);
  const trusted = crawl.trusted ? trustedPairs(redisUrl, crawl.api && rewriteLocalhost(crawl.api.baseUrl, host)) : [];
  const { tunnel } = context;
  const containerEgress = await engine.openEgress({
    job: job.id,
    imageLabels: image.labels,
    network: crawl.network,
    trusted,
    ...(tunnel !== undefined && { tunnel }),
    onRefused: (target, reason) => {
      log.debug('a crawl was refused an address', { job: job.id, target, reason });
      context.report({ kind: 'log', stream: 'log', line: `refused ${target}: ${reason}` });
    },
  });
  if (redis !== undefined && crawl.redisUrl === undefined && containerEgress.mode !== 'proxy') {
    await containerEgress.close();
    throw new PeerworkError(
      'egress-unavailable',
      'the tunnel to its Redis leads through the proxy socket, which this image or engine does not have',
    );
  }
  let proxy: EgressProxy | undefined;
  if (redisUrl !== undefined) {
    const policy = effectivePolicy(crawl.network, engine.ceilings.network, trusted);
    proxy = await EgressProxy.open({ policy, internet, ...(tunnel !== undefined && { tunnel: () => tunnel }) });
  }
  return {
    containerEgress,
    redisUrl,
    proxySocket: proxy?.socketPath,
    close: async () => {
      await proxy?.close();
      await containerEgress.close();
    },
  };
}

function trustedPairs(redisUrl: string | undefined, apiUrl: string | undefined): string[] {
  const pairs: string[] = [];
  if (redisUrl !== undefined) {
    const { host, port } = readRedisUrl(redisUrl);
    if (host !== TUNNEL_NAME) pairs.push(`${host}:${port}`);
  }
  if (apiUrl !== undefined) {
    const { hostname, port, protocol } = new URL(apiUrl);
    pairs.push(`${hostname}:${port || (protocol === 'https:' ? 443 : 80)}`);
  }
  return pairs;
}
