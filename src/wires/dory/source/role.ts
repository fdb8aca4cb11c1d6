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

/** Dependencies shared by the roles coordinator and helper. */
export interface RoleOptions {
  readonly workerId: string;
  readonly api: DoryApi;
  readonly settings: Settings;
  readonly active: ActiveRuns;
  readonly journal: Journal;
  readonly reporter: Reporter;
  readonly marks: SharedMarks;
  readonly log: Log;
  /** Called when the API rejects the key. */
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
 * Builds the job for the runner `crawl`. Containers receive its key through their environment. A coordinator's containers are named
 * `worker-1`, `worker-2` and so on; those of a helper also carry its Worker's id, so that names are unique within a run.
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
