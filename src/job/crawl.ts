import type { Json } from './job.js';

/**
 * Input of the runner `crawl`. A source passes it as the job's data; for a Master's job it is `task.json` merged with the job's data.
 */
export interface CrawlJob {
  /** Id of the crawl; also the name of its request queue. */
  readonly runId: string;
  /** What to crawl and how: docs/crawls.md. */
  readonly actor: { readonly [key: string]: Json };
  /** Default: the Worker's own crawler image. */
  readonly image?: string;
  /** Number of containers, at least 1. */
  readonly containers: number;
  /** Memory of one container, in MiB; absent: its environment names no limit. */
  readonly memoryMb?: number;
  /** Time after which, plus some grace, the containers are stopped, in seconds. */
  readonly timeoutSecs?: number;
  /** Address of the Redis with the request queue as containers see it, before `localhost` is rewritten; required for several containers. */
  readonly redisUrl?: string;
  /** Uses the request queue in Redis even with one container, because other machines take part. */
  readonly distributed?: boolean;
  /** Prefix of container names, followed by a number from 1; default `worker-`. */
  readonly containerIdPrefix?: string;
  /** Where containers deliver results themselves; absent: results are part of the outcome. */
  readonly api?: { readonly baseUrl: string; readonly key: string };
  /** Labels of the containers, such as `dory.run`. */
  readonly labels?: { readonly [name: string]: string };
}

/** Output of a completed crawl, and partial output of a failed one. */
export interface CrawlOutput {
  /** The highest exit code of its containers; 0 if the crawl completed. */
  readonly exitCode: number;
  /** Number of finished pages, including the failed ones that were given up. */
  readonly handled: number;
  readonly failed: number;
  readonly containers: readonly { readonly id: string; readonly exitCode: number; readonly handled: number }[];
  /** Results; absent if the containers delivered them elsewhere. */
  readonly results?: readonly Json[];
  /** Set if the crawl met a limit or was stopped, with more left to find. */
  readonly partial?: true;
  /** Why it is partial: a `CrawlLimit`, or the code of the error. */
  readonly reason?: string;
  /** Number of pages whose results did not fit into the output. */
  readonly leftOut?: number;
}

/**
 * `results`: the outcome is full. `pages`: `maxPages` was reached with links left over. `disk`: its containers reached their write limit.
 */
export type CrawlLimit = 'results' | 'pages' | 'disk';
