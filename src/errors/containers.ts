import type { ErrorEntry } from './entry.js';

/** Crawls and the crawler image. */
export const crawlErrors = {
  'crawl-invalid': {
    message: 'The crawl configuration cannot be run: {detail}',
    hint: 'Fix it; docs/crawls.md describes every field.',
    status: 422,
  },
  'crawl-redis-missing': {
    message: 'A crawl in several containers needs a shared Redis, and none is configured',
    hint: 'Set redisUrl (CRAWLER_REDIS_URL), or use one container.',
    status: 422,
  },
  'crawl-redis-unreachable': {
    message: 'The crawl’s Redis cannot be used: {detail}',
    hint: 'Start it, or fix its address as seen from the containers and this worker: `redis-cli -u ADDRESS ping` must return PONG.',
    status: 502,
  },
  'crawl-failed': {
    message: 'The crawl failed: {detail}',
    hint: 'Check the job’s log: it has a line for each failed page.',
    status: 500,
  },
  'image-unbuildable': {
    message: 'The crawler image cannot be built: {detail}',
    hint: 'Run `peerwork image` to see each step; `--base` takes a local image that has Node 20.',
    status: 500,
  },
} as const satisfies Record<string, ErrorEntry>;

/** The container engine of a worker, and how containers end. */
export const containerErrors = {
  'engine-missing': {
    message: 'No usable container engine: {detail}',
    hint: 'Install docker or podman, start it, and give this user access; `docker version` must succeed.',
    status: 501,
  },
  'engine-failed': {
    message: 'The container engine failed: {detail}',
    hint: 'Check the engine: `docker info`, its log, its disk.',
    status: 502,
  },
  'image-refused': {
    message: 'The owner of this worker does not allow the image: {detail}',
    hint: 'Use an allowed image, or have the owner add this one to PEERWORK_IMAGES.',
    status: 403,
  },
  'image-missing': {
    message: 'The image is not present and cannot be pulled: {detail}',
    hint: 'Check the image name, that the worker can reach the registry, and PEERWORK_PULL.',
    status: 404,
  },
  'container-invalid': {
    message: 'The container job is not valid: {detail}',
    hint: 'Fix task.json or the job data; docs/containers.md describes both.',
    status: 422,
  },
  'container-limits': {
    message: 'The container requests more than the owner of this worker allows: {detail}',
    hint: 'Request less, or have the worker’s owner raise the limit, such as `--container-memory-mb`.',
    status: 403,
  },
  'container-failed': {
    message: 'The container ended with an error: {detail}',
    hint: 'Check the job’s log.',
    status: 500,
  },
  'egress-unavailable': {
    message: 'This worker cannot enforce the container’s network policy: {detail}',
    hint: 'Use an image that supports the proxy socket, run the worker as root with nftables, request no network, or have the owner allow unfiltered containers.',
    status: 501,
  },
} as const satisfies Record<string, ErrorEntry>;
