import type { Options } from '../../config.js';
import { asPeerworkError } from '../../errors.js';
import type { Check } from '../../job/health.js';
import { hasCredentials, openAccess } from '../../sources/dory/credentials.js';
import { checkHttp } from '../health/check-http.js';
import { checkRedis } from '../health/check-redis.js';
import { given } from '../options.js';
import type { SourceCommand } from './source-command.js';

/** Switched on by API_BASE_URL or by having logged in. */
export const dory: SourceCommand = {
  name: 'dory',
  configured: ({ doryApi }) => doryApi !== undefined || hasCredentials(),
  questions: ['doryApi', 'doryRedis', 'doryCrawlerRedis', 'doryMaxRuns'],
  ready: async (options) => {
    accessOf(options);
  },
  setup: async (options) => {
    const { dorySource } = await import('../../sources/dory/setup.js');
    return dorySource(optionsOf(options));
  },
  check: async (options, { signal }) => {
    const { doryRedis, doryCrawlerRedis } = options;
    const checks = [
      checkApi(options, signal),
      checkRedis('dory redis', redisOf(options), { variable: doryRedis === undefined ? 'REDIS_HOST' : 'REDIS_URL', signal }),
    ];
    if (doryCrawlerRedis !== undefined)
      checks.push(checkRedis('dory crawler redis', asSeenFromHere(doryCrawlerRedis), { variable: 'CRAWLER_REDIS_URL', signal }));
    return Promise.all(checks);
  },
};

function accessOf({ doryApi, doryKey }: Options) {
  return openAccess({ apiBaseUrl: doryApi, apiKey: doryKey });
}

/** With a call that needs a valid key. */
async function checkApi(options: Options, signal: AbortSignal): Promise<Check> {
  try {
    const { apiBaseUrl, key } = accessOf(options);
    const login = 'Run `peerwork login`, or give WORKER_API_KEY a valid key.';
    const question = { variable: 'API_BASE_URL', signal, headers: { 'x-api-key': key() }, login };
    return await checkHttp('dory api', `${apiBaseUrl}/api/runs/active/distributed`, question);
  } catch (thrown) {
    const { message, todo } = asPeerworkError(thrown);
    return { name: 'dory api', state: 'fail', detail: message, todo };
  }
}

function redisOf({ doryRedis, doryRedisHost, doryRedisPort, doryRedisPassword }: Options): string {
  const login = doryRedisPassword === undefined ? '' : `:${encodeURIComponent(doryRedisPassword)}@`;
  return doryRedis ?? `redis://${login}${doryRedisHost}:${doryRedisPort}`;
}

/** Containers have a name for this machine that it does not know itself. */
function asSeenFromHere(url: string): string {
  return url.replace(/\bhost\.(docker|containers)\.internal\b/, 'localhost');
}

function optionsOf(options: Options) {
  const { doryApi, doryKey, doryRedis, doryRedisHost, doryRedisPort, doryRedisPassword, doryQueue, doryWorkerId } = options;
  const { doryMaxRuns, doryContainers, doryImage, doryCrawlerRedis, doryConfigSource } = options;
  return {
    redis: { host: doryRedisHost, port: doryRedisPort, ...given({ password: doryRedisPassword }) },
    pinned: doryConfigSource === 'local',
    queue: doryQueue,
    settings: given({
      maxConcurrentRuns: doryMaxRuns,
      containerCount: doryContainers,
      dockerImage: doryImage,
      crawlerRedisUrl: doryCrawlerRedis,
    }),
    ...given({ apiBaseUrl: doryApi, apiKey: doryKey, redisUrl: doryRedis, workerId: doryWorkerId }),
  };
}
