import { Redis } from 'ioredis';
import { RedisQueue } from '../src/crawl/queue/redis-queue.js';
import { requestId } from '../src/crawl/request-id.js';
import type { Lab } from './lab/lab.js';
import { startRedis } from './lab/redis.js';
import type { Benchmark } from './lab/report.js';

const CLIENTS = 8;
const URLS = 20_000;
const BATCH = 25;
const ADD = 500;
const ROUNDS = 3;
const LEAST_PER_SECOND = 10_000;

/** The request queue of distributed crawls: 8 clients, each on a connection of its own, claim and handle all that one of them has added. */
export const requestQueue: Benchmark = {
  name: 'request-queue',
  async run(lab) {
    const port = await startRedis(lab);
    const rounds: Awaited<ReturnType<typeof round>>[] = [];
    for (let at = 0; at < ROUNDS; at += 1) rounds.push(await round(lab, port, `round-${at}`));
    const best = rounds.reduce((a, b) => (b.claimsPerSecond > a.claimsPerSecond ? b : a));
    const doubles = rounds.reduce((sum, { doubleClaims }) => sum + doubleClaims, 0);
    return [
      {
        benchmark: 'crawl queue in Redis: claimed and handled, 8 clients, 20,000 URLs',
        figure: `${Math.round(best.claimsPerSecond)}/s, best of ${ROUNDS}`,
        reference: `${LEAST_PER_SECOND}/s`,
        ratio: best.claimsPerSecond / LEAST_PER_SECOND,
        target: { least: 1 },
        notes: [`added ${Math.round(best.addsPerSecond)}/s; of the clients the busiest had ${best.most} pages, the idlest ${best.least}`],
        values: { rounds },
      },
      {
        benchmark: 'crawl queue in Redis: pages claimed by two',
        figure: String(doubles),
        reference: `${URLS * ROUNDS} claims`,
        ratio: doubles,
        target: { most: 0 },
      },
    ];
  },
};

async function round(lab: Lab, port: number, queue: string) {
  const connections = Array.from({ length: CLIENTS }, () => new Redis(port, '127.0.0.1', { maxRetriesPerRequest: null }));
  lab.onClose(async () => {
    for (const connection of connections) connection.disconnect();
  });
  const clients = connections.map((redis, at) => new RedisQueue({ redis, queue, client: `worker-${at + 1}` }));
  await Promise.all(clients.map((client) => client.join()));
  const urls = Array.from({ length: URLS }, (_, at) => `http://site.example/page/${at}`);
  const requests = urls.map((url) => ({
    id: requestId(url),
    json: JSON.stringify({ url, method: 'GET', retryCount: 0, userData: { depth: 1 } }),
  }));
  const addingAt = performance.now();
  for (let at = 0; at < URLS; at += ADD) await clients[0]?.add(requests.slice(at, at + ADD));
  const addMs = performance.now() - addingAt;
  const claims = new Map<string, number>();
  const claimingAt = performance.now();
  const shares = await Promise.all(
    clients.map(async (client) => {
      let mine = 0;
      for (let pending = 1; pending > 0; ) {
        const claimed = await client.claim(BATCH);
        pending = claimed.pending;
        mine += claimed.requests.length;
        for (const { id } of claimed.requests) claims.set(id, (claims.get(id) ?? 0) + 1);
        await Promise.all(claimed.requests.map(({ id, json }) => client.handle(id, json, false)));
      }
      return mine;
    }),
  );
  const claimMs = performance.now() - claimingAt;
  const { handled } = (await clients[0]?.counts()) ?? { handled: 0 };
  if (handled !== URLS || claims.size !== URLS) throw new Error(`${handled} of ${URLS} URLs were handled, ${claims.size} claimed`);
  for (const connection of connections) connection.disconnect();
  return {
    claimsPerSecond: URLS / (claimMs / 1_000),
    addsPerSecond: URLS / (addMs / 1_000),
    doubleClaims: [...claims.values()].filter((times) => times > 1).length,
    most: Math.max(...shares),
    least: Math.min(...shares),
  };
}
