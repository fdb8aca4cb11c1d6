import type { PeerworkError } from '../../../errors.js';
import type { CrawlJob } from '../../../job/crawl.js';
import type { Json } from '../../../job/job.js';
import type { Log } from '../../../log.js';
import type { ActiveRuns } from './active-runs.js';
import type { DoryApi } from './api.js';
import type { Journal } from './journal.js';
import type { Reporter } from './reporter.js';
import type { RunSettings, Settings } from './settings.js';
import type { RunConfig } from './shapes.js';
import type { SharedMarks } from './shared-marks.js';

/** What a Worker needs for a run in either of its roles, as the coordinator or as a helper. */
export interface RoleOptions {
  readonly workerId: string;
  readonly api: DoryApi;
  readonly settings: Settings;
  readonly active: ActiveRuns;
  readonly journal: Journal;
  readonly reporter: Reporter;
  readonly marks: SharedMarks;
  readonly log: Log;
  /** The API does not accept the key any more. */
  readonly onRefused: (error: PeerworkError) => void;
}

interface CrawlOfRun {
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
