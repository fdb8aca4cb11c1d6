import type { CrawlJob } from '../../job/crawl.js';
import type { Json } from '../../job/job.js';
import type { RunSettings } from './settings.js';
import type { RunConfig } from './shapes.js';

export interface CrawlOfRun {
  readonly runId: string;
  readonly workerId: string;
  readonly config: RunConfig;
  readonly settings: RunSettings & { readonly image: string };
  readonly api: { readonly baseUrl: string; readonly key: string };
  readonly role: 'coordinator' | 'helper';
}

/**
 * The job for the runner `crawl`. The key in it goes to the containers through their environment. A coordinator's containers are called
 * `worker-1` …; those of a helper carry its Worker's id as well, so that no two of a run are called the same.
 */
export function crawlOfRun({ runId, workerId, config, settings, api, role }: CrawlOfRun): Json {
  const helps = role === 'helper';
  const { image, containers, crawlerRedisUrl } = settings;
  const { memoryLimitMb, actorTimeoutSecs } = config;
  const job: CrawlJob = {
    runId,
    actor: config.actorConfig,
    image,
    containers,
    api,
    labels: { 'dory.run': runId, 'dory.worker': workerId },
    ...(memoryLimitMb !== undefined && { memoryMb: memoryLimitMb }),
    ...(actorTimeoutSecs !== undefined && { timeoutSecs: actorTimeoutSecs }),
    ...((helps || containers > 1) && crawlerRedisUrl !== undefined && { redisUrl: crawlerRedisUrl, distributed: true }),
    ...(helps && { containerIdPrefix: `${workerId}-worker-` }),
  };
  return { ...job };
}
