import type { JobService } from '../job-service.js';
import type { Gate } from './auth.js';
import type { EventFeed } from './event-feed.js';
import type { ApiOptions } from './options.js';
import type { StatsSeries } from './stats-series.js';

/** Shared by all routes. */
export interface ApiContext {
  readonly service: JobService;
  readonly options: ApiOptions;
  readonly gate: Gate;
  readonly feed: EventFeed;
  readonly series: StatsSeries;
  /** Aborts when the API closes, which ends long polls and streams. */
  readonly closing: AbortSignal;
}
