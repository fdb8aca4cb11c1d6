import type { Json } from './job.js';

/** A crawl as the runner `crawl` takes it: a source gives it as the job's data, or `task.json` and the data of a Master's job make it. */
export interface CrawlJob {
  /** Also the name of the request queue. */
  readonly runId: string;
  /** What to crawl and how: docs/crawls.md. */
  readonly actor: { readonly [key: string]: Json };
  /** Default: the Worker's own crawler image. */
  readonly image?: string;
  /** At least 1. */
  readonly containers: number;
  /** Of one container, in MiB; absent: the container is told nothing. */
  readonly memoryMb?: number;
  /** After this long, and some grace, the containers are stopped. In seconds. */
  readonly timeoutSecs?: number;
  /** The Redis of the request queue as containers shall reach it, before `localhost` is rewritten; several containers need one. */
  readonly redisUrl?: string;
  /** Uses the request queue in Redis with one container too: others help. */
  readonly distributed?: boolean;
  /** A container is called this and its number, from 1; default `worker-`. */
  readonly containerIdPrefix?: string;
  /** Where containers deliver results themselves; absent: results come back in the outcome. */
  readonly api?: { readonly baseUrl: string; readonly key: string };
  /** Of the containers, such as `dory.run`. */
  readonly labels?: { readonly [name: string]: string };
}

/** What a crawl gives: the output of a completed one, and of a failed one what it had by then. */
export interface CrawlOutput {
  /** The highest of its containers; 0 if it completed. */
  readonly exitCode: number;
  /** Pages that are done, and those of them that were given up. */
  readonly handled: number;
  readonly failed: number;
  readonly containers: readonly { readonly id: string; readonly exitCode: number; readonly handled: number }[];
  /** Absent if the containers delivered them elsewhere. */
  readonly results?: readonly Json[];
  /** There was more to find: the crawl met a limit, or was stopped. */
  readonly partial?: true;
  /** Why it is partial: a `CrawlLimit`, or the code of the error. */
  readonly reason?: string;
  /** Pages whose results had no room in the output. */
  readonly leftOut?: number;
}

/** `results`: they have no more room in one outcome. `pages`: `maxPages` was reached with links left. `disk`: what its containers may write. */
export type CrawlLimit = 'results' | 'pages' | 'disk';
