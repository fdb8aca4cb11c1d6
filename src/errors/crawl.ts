import type { ErrorEntry } from './entry.js';

/** Crawls and their image. */
export const crawlErrors = {
  'crawl-invalid': {
    message: 'The crawl cannot be run as it is described: {detail}',
    todo: 'Correct it; docs/crawls.md describes every field.',
    status: 422,
  },
  'crawl-redis-missing': {
    message: 'A crawl in several containers needs a Redis that they share, and none is named',
    todo: 'Name it in redisUrl (CRAWLER_REDIS_URL of a dory worker), or use one container.',
    status: 422,
  },
  'crawl-redis-unreachable': {
    message: 'The Redis of the crawl cannot be used: {detail}',
    todo: 'Start it, and check its address and password, as containers and this worker reach it.',
    status: 502,
  },
  'crawl-failed': {
    message: 'The crawl failed: {detail}',
    todo: 'Look into the log of the job: each page that failed has a line there.',
    status: 500,
  },
  'image-unbuildable': {
    message: 'The image of the crawler cannot be built: {detail}',
    todo: 'Run `peerwork image` to see each step, with --base for an image with Node 20 that is here already.',
    status: 500,
  },
} as const satisfies Record<string, ErrorEntry>;
