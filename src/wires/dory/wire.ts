import { asPeerworkError } from '../../errors.js';
import type { Check } from '../../job/health.js';
import { omitUndefined } from '../../kit/omit.js';
import { requirePackages } from '../../kit/optional-package.js';
import { checkHttp } from '../health/check-http.js';
import { checkRedis } from '../health/check-redis.js';
import type { Wire, WireOptions } from '../wire.js';
import { doryWorker, loginCommands } from './commands/index.js';
import { DoryError } from './errors.js';
import { doryOptions } from './options.js';
import { hasCredentials, openAccess } from './source/credentials.js';

type Options = WireOptions<typeof doryOptions>;

/** More runs than one machine has memory for. */
const MAX_RUNS = 100;

/** Enabled by API_BASE_URL or by stored credentials. */
export const dory: Wire<typeof doryOptions> = {
  name: 'dory',
  summary: 'a dory-api and its BullMQ queue: crawls in containers, in place of dory-worker',
  options: doryOptions,
  errors: DoryError,
  needsContainers: true,
  // The API may raise the limit of a running Worker.
  places: ({ doryMaxRuns = 0 }) => Math.max(doryMaxRuns, MAX_RUNS),
  commands: loginCommands,
  program: doryWorker,
  configured: ({ doryApi }) => doryApi !== undefined || hasCredentials(),
  questions: ['doryApi', 'doryRedis', 'doryCrawlerRedis', 'doryMaxRuns'],
  ready: async (options) => {
    accessOf(options);
    await requirePackages('bullmq');
  },
  setup: async (options) => {
    await requirePackages('bullmq');
    const { dorySource } = await import('./source/setup.js');
    return dorySource(optionsOf(options));
  },
  check: async (options, { signal }) => {
    const { doryRedis, doryCrawlerRedis } = options;
    const checks = [
      checkApi(options, signal),
      checkRedis('dory redis', redisOf(options), { variable: doryRedis === undefined ? 'REDIS_HOST' : 'REDIS_URL', signal }),
    ];
    if (doryCrawlerRedis !== undefined)
      checks.push(checkRedis('dory crawler redis', fromThisHost(doryCrawlerRedis), { variable: 'CRAWLER_REDIS_URL', signal }));
    return Promise.all(checks);
  },
};

function accessOf({ doryApi, doryKey }: Options) {
  return openAccess({ apiBaseUrl: doryApi, apiKey: doryKey });
}

/** Calls a route that requires a valid key. */
async function checkApi(options: Options, signal: AbortSignal): Promise<Check> {
  try {
    const { apiBaseUrl, key } = accessOf(options);
    const login = 'Run `peerwork login`, or give WORKER_API_KEY a valid key.';
    const request = { variable: 'API_BASE_URL', signal, headers: { 'x-api-key': key() }, login };
    return await checkHttp('dory api', `${apiBaseUrl}/api/runs/active/distributed`, request);
  } catch (thrown) {
    const { message, hint } = asPeerworkError(thrown);
    return { name: 'dory api', state: 'fail', detail: message, hint };
  }
}

function redisOf({ doryRedis, doryRedisHost, doryRedisPort, doryRedisPassword }: Options): string {
  const login = doryRedisPassword === undefined ? '' : `:${encodeURIComponent(doryRedisPassword)}@`;
  return doryRedis ?? `redis://${login}${doryRedisHost}:${doryRedisPort}`;
}

/** Containers reach this machine under a name that the machine itself does not resolve. */
function fromThisHost(url: string): string {
  return url.replace(/\bhost\.(docker|containers)\.internal\b/, 'localhost');
}

function optionsOf(options: Options) {
  const { doryApi, doryKey, doryRedis, doryRedisHost, doryRedisPort, doryRedisPassword, doryQueue, doryWorkerId } = options;
  const { doryMaxRuns, doryContainers, doryImage, doryCrawlerRedis, doryConfigSource } = options;
  return {
    redis: { host: doryRedisHost, port: doryRedisPort, ...omitUndefined({ password: doryRedisPassword }) },
    pinned: doryConfigSource === 'local',
    queue: doryQueue,
    settings: omitUndefined({
      maxConcurrentRuns: doryMaxRuns,
      containerCount: doryContainers,
      dockerImage: doryImage,
      crawlerRedisUrl: doryCrawlerRedis,
    }),
    ...omitUndefined({ apiBaseUrl: doryApi, apiKey: doryKey, redisUrl: doryRedis, workerId: doryWorkerId }),
  };
}
