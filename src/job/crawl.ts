import type { Json } from './job.js';

/** Input of the runner `crawl`: a source passes it as the job's data; for a Master's job, `task.json` and the job's data are merged into it. */
export interface CrawlJob {
  /** Also the name of the request queue. */
  readonly runId: string;
  /** What to crawl and how: docs/crawls.md. */
  readonly actor: { readonly [key: string]: Json };
  /** Default: the Worker's own crawler image. */
  readonly image?: string;
  /** At least 1. */
  readonly containers: number;
  /** Memory of one container, in MiB; absent: the container is not given a limit in its environment. */
  readonly memoryMb?: number;
  /** After this long, and some grace, the containers are stopped. In seconds. */
  readonly timeoutSecs?: number;
  /** Address of the Redis of the request queue from the containers, before `localhost` is rewritten; several containers need one. */
  readonly redisUrl?: string;
  /** Uses the request queue in Redis even with one container, because others help. */
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
  /** The highest of its containers'; 0 if it completed. */
  readonly exitCode: number;
  /** Finished pages, and those of them that were given up. */
  readonly handled: number;
  readonly failed: number;
  readonly containers: readonly { readonly id: string; readonly exitCode: number; readonly handled: number }[];
  /** Absent if the containers delivered them elsewhere. */
  readonly results?: readonly Json[];
  /** More was left to find: the crawl met a limit, or was stopped. */
  readonly partial?: true;
  /** Why it is partial: a `CrawlLimit`, or the code of the error. */
  readonly reason?: string;
  /** Pages whose results did not fit into the output. */
  readonly leftOut?: number;
}

/** `results`: the outcome is full. `pages`: `maxPages` was reached with links left over. `disk`: the limit of what its containers may write. */
export type CrawlLimit = 'results' | 'pages' | 'disk';
