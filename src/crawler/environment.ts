import { type Actor, readActor } from '../crawl/actor.js';
import { LOCAL_JSON, parseJson } from '../kit/json.js';
import { readRedisUrl } from '../kit/redis-url.js';

/** The crawler's settings, from its variables. */
export interface Environment {
  readonly actor: Actor;
  readonly runId: string;
  /** Name among the containers of a run. */
  readonly worker: string;
  /** Set if the queue is shared in Redis. */
  readonly shared?: { readonly redisUrl: string; readonly queue: string };
  /** Set if results and, unless the queue is shared, the status are sent to an API. */
  readonly api?: { readonly baseUrl: string; readonly key: string };
  /** Set if results are written into this folder. */
  readonly resultsFolder?: string;
  /** Unix socket of the proxy for all connections. */
  readonly proxySocket?: string;
  /** Idle time after which the crawler ends. */
  readonly idleMs: number;
  /** Number of containers to wait for, for a limited time, before the first page, so that each gets its share. */
  readonly containers: number;
}

/** The crawler was started with invalid settings: exit code 2. */
export class Unusable extends Error {}

const DEFAULT_IDLE_SECS = 15;

/** Throws Unusable. */
export function readEnvironment(env: Readonly<Record<string, string | undefined>>): Environment {
  const { ACTOR_CONFIG, API_BASE_URL, REDIS_URL, QUEUE_NAME, WORKER_ID, IDLE_TIMEOUT_SECS, WORKER_API_KEY, RUN_ID } = env as Record<
    string,
    string
  >;
  const { PEERWORK_RESULTS, PEERWORK_PROXY_SOCKET, PEERWORK_CRAWLERS } = env as Record<string, string>;
  const actor = decodeActor(ACTOR_CONFIG);
  const runId = RUN_ID || QUEUE_NAME || actor.runId || '';
  const idleSecs = IDLE_TIMEOUT_SECS ? Number(IDLE_TIMEOUT_SECS) : DEFAULT_IDLE_SECS;
  if (!Number.isFinite(idleSecs) || idleSecs < 0) throw new Unusable('IDLE_TIMEOUT_SECS is not a number of seconds');
  if (REDIS_URL && !QUEUE_NAME) throw new Unusable('REDIS_URL is set, but QUEUE_NAME is not');
  if (REDIS_URL) {
    try {
      readRedisUrl(REDIS_URL);
    } catch (thrown) {
      throw new Unusable(`REDIS_URL cannot be used: ${(thrown as Error).message}`);
    }
  }
  if (API_BASE_URL && !/^https?:\/\//.test(API_BASE_URL)) throw new Unusable('API_BASE_URL is neither http nor https');
  if (API_BASE_URL && runId === '') throw new Unusable('API_BASE_URL is set, but RUN_ID is not');
  return {
    actor,
    runId,
    worker: WORKER_ID || `crawler-${process.pid}`,
    idleMs: idleSecs * 1_000,
    containers: Math.max(1, Number(PEERWORK_CRAWLERS) || 1),
    ...(REDIS_URL && QUEUE_NAME && { shared: { redisUrl: REDIS_URL, queue: QUEUE_NAME } }),
    ...(API_BASE_URL && { api: { baseUrl: API_BASE_URL.replace(/\/$/, ''), key: WORKER_API_KEY ?? '' } }),
    ...(PEERWORK_RESULTS && { resultsFolder: PEERWORK_RESULTS }),
    ...(PEERWORK_PROXY_SOCKET && { proxySocket: PEERWORK_PROXY_SOCKET }),
  };
}

function decodeActor(text: string | undefined): Actor {
  if (!text) throw new Unusable('ACTOR_CONFIG is not set');
  let config: unknown;
  try {
    config = parseJson(Buffer.from(text, 'base64'), LOCAL_JSON);
  } catch {
    throw new Unusable('ACTOR_CONFIG is not JSON in base64');
  }
  const read = readActor(config);
  if ('fault' in read) throw new Unusable(`ACTOR_CONFIG is wrong at ${read.fault}`);
  return read.actor;
}
