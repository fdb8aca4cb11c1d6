import type { ErrorEntry } from './entry.js';

/** The source `dory`: a dory-api and the Redis of its run queue. */
export const doryErrors = {
  'dory-key-missing': {
    message: 'This Worker is not logged in at a dory-api',
    todo: 'Run `peerwork login`, or set API_BASE_URL and WORKER_API_KEY.',
    status: 401,
  },
  'dory-key-refused': {
    message: 'The dory-api refuses the key of this Worker: {detail}',
    todo: 'Run `peerwork login` (a running Worker takes the new key by itself), or give WORKER_API_KEY a valid key. Until then no run is taken.',
    status: 401,
  },
  'dory-key-elsewhere': {
    message: 'The stored key belongs to another API: {detail}',
    todo: 'Run `peerwork login` for the API that is meant, or correct API_BASE_URL.',
    status: 409,
  },
  'dory-login-refused': { message: 'The dory-api refuses the log-in: {detail}', todo: 'Check user name and password.', status: 401 },
  'dory-credentials-unusable': {
    message: 'The stored credentials cannot be used: {detail}',
    todo: 'Run `peerwork login` anew.',
    status: 500,
  },
  'dory-api-unreachable': {
    message: 'The dory-api cannot be reached: {detail}',
    todo: 'Check API_BASE_URL and that the API runs; the Worker goes on trying.',
    status: 503,
  },
  'dory-api-failed': { message: 'The dory-api answered with an error: {detail}', todo: 'Look into the log of the API.', status: 502 },
  'dory-redis-unreachable': {
    message: 'The Redis of the run queue cannot be used: {detail}',
    todo: 'Check REDIS_URL (or REDIS_HOST, REDIS_PORT, REDIS_PASSWORD); the Worker goes on trying.',
    status: 503,
  },
  'dory-runner-missing': {
    message: 'This Worker cannot run crawls, so it cannot serve a dory-api',
    todo: 'Install and start docker or podman; `peerwork health` says what is missing.',
    status: 501,
  },
  'dory-run-invalid': { message: 'A run cannot be understood: {detail}', todo: 'Correct what the API enqueues and serves.', status: 422 },
  'dory-image-missing': {
    message: 'The run names no image, and this Worker has no DOCKER_IMAGE',
    todo: 'Set the image in the API, or DOCKER_IMAGE on this Worker.',
    status: 422,
  },
  'dory-crawler-redis-missing': {
    message: 'A distributed run needs a Redis that containers can reach',
    todo: 'Set CRAWLER_REDIS_URL on this Worker, or the crawler Redis in the API.',
    status: 422,
  },
  'dory-run-cancelled': { message: 'The run was cancelled', todo: 'Start it again if that was not meant.', status: 409 },
} as const satisfies Record<string, ErrorEntry>;
