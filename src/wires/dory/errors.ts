import { declareErrors } from '../../errors.js';

/** Errors of the source `dory`: the dory-api and the Redis of its run queue. */
export const DoryError = declareErrors({
  'dory-key-missing': {
    message: 'This Worker is not logged in to a dory-api',
    hint: 'Run `peerwork login`, or set API_BASE_URL and WORKER_API_KEY.',
    status: 401,
    exitCode: 3,
  },
  'dory-key-refused': {
    message: 'The dory-api rejected this Worker’s key: {detail}',
    hint: 'Run `peerwork login` (a running Worker picks up the new key by itself), or set WORKER_API_KEY to a valid key. Until then the Worker takes no runs.',
    status: 401,
    exitCode: 3,
  },
  'dory-key-elsewhere': {
    message: 'The stored key belongs to another API: {detail}',
    hint: 'Run `peerwork login` for the intended API, or fix API_BASE_URL.',
    status: 409,
  },
  'dory-login-refused': {
    message: 'The dory-api rejected the login: {detail}',
    hint: 'Check user name and password.',
    status: 401,
    exitCode: 3,
  },
  'dory-credentials-unusable': {
    message: 'The stored credentials cannot be used: {detail}',
    hint: 'Run `peerwork login` again.',
    status: 500,
    exitCode: 3,
  },
  'dory-api-unreachable': {
    message: 'The dory-api cannot be reached: {detail}',
    hint: 'Check API_BASE_URL and that the API is running; the Worker keeps retrying.',
    status: 503,
  },
  'dory-api-failed': { message: 'The dory-api returned an error: {detail}', hint: 'Check the API’s log.', status: 502 },
  'dory-redis-unreachable': {
    message: 'The run queue’s Redis cannot be used: {detail}',
    hint: 'Start it, or fix REDIS_URL (or REDIS_HOST and REDIS_PORT): `redis-cli -u ADDRESS ping` must return PONG. The Worker keeps retrying.',
    status: 503,
  },
  'dory-runner-missing': {
    message: 'This Worker cannot run crawls, so it cannot serve a dory-api',
    hint: 'Install and start docker or podman; `peerwork health` shows what is missing.',
    status: 501,
  },
  'dory-run-invalid': { message: 'A run is invalid: {detail}', hint: 'Fix the run in the API.', status: 422 },
  'dory-image-missing': {
    message: 'The run names no image, and this Worker has no DOCKER_IMAGE',
    hint: 'Set the image in the API, or DOCKER_IMAGE on this Worker.',
    status: 422,
  },
  'dory-crawler-redis-missing': {
    message: 'A distributed run needs a Redis that containers can reach',
    hint: 'Set CRAWLER_REDIS_URL on this Worker, or the crawler Redis in the API.',
    status: 422,
  },
  'dory-run-cancelled': { message: 'The run was cancelled', hint: 'Start it again if that was not intended.', status: 409 },
});
