import { Redis } from 'ioredis';
import { BareChannel } from './lab/channel.js';
import { startMaster } from './lab/grid.js';
import type { Lab } from './lab/lab.js';
import { startRedis } from './lab/redis.js';
import { type Benchmark, median, quantile } from './lab/report.js';
import type { TunnelWorkerVerbs } from './lab/tunnel-worker-process.js';

const ROUNDS = 5;
const SEQUENTIAL = 400;
const BATCH = 100;
/** Pipelines under way at once. */
const LANES = 4;
const BATCHES = 100;
const VALUE = 'x'.repeat(64);
const BULK_BYTES = 16 * 1024 * 1024;

/**
 * Redis commands through the link against the same on Redis itself, one by one and in pipelines, and large values. The client, the Worker, the
 * Master and Redis are a process each. All is on loopback, where a direct connection costs next to nothing: the link is also held against the
 * round trip of a bare data channel.
 */
export const tunnel: Benchmark = {
  name: 'tunnel',
  async run(lab) {
    const redisPort = await startRedis(lab);
    const bare = await BareChannel.open(lab);
    const direct = connectTo(lab, redisPort);
    const through = connectTo(lab, await tunnelTo(lab, redisPort));
    for (const client of [direct, through]) {
      await sequential(client, 100);
      await pipelined(client, 20);
    }
    await bare.roundTrips(100, 0);
    const [ours, theirs] = [
      { one: [] as number[][], many: [] as number[], bulk: [] as number[] },
      { one: [] as number[][], many: [] as number[], bulk: [] as number[] },
    ];
    const hops: number[] = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      for (const [client, figures] of [
        [through, ours],
        [direct, theirs],
      ] as const) {
        figures.one.push(await sequential(client, SEQUENTIAL));
        figures.many.push(await pipelined(client, BATCHES));
        figures.bulk.push(await bulk(client));
      }
      hops.push(...(await bare.roundTrips(SEQUENTIAL / ROUNDS, 0)));
    }
    const rate = (times: readonly number[]) => (times.length * 1_000) / times.reduce((sum, ms) => sum + ms, 0);
    const [oneOurs, oneTheirs] = [ours.one.map(rate), theirs.one.map(rate)];
    const p50 = (times: readonly number[][]) => quantile(times.flat(), 0.5);
    const ratio = (a: readonly number[], b: readonly number[]) => median(a.map((value, round) => value / (b[round] ?? Number.NaN)));
    const whole = (value: number) => Math.round(value).toLocaleString('en');
    return [
      {
        benchmark: 'Redis through the link, one command at a time',
        figure: `${whole(median(oneOurs))} ops/s, p50 ${p50(ours.one).toFixed(2)} ms`,
        reference: `direct: ${whole(median(oneTheirs))} ops/s, p50 ${p50(theirs.one).toFixed(2)} ms`,
        ratio: ratio(oneOurs, oneTheirs),
        notes: [`a bare data channel, there and back: p50 ${quantile(hops, 0.5).toFixed(2)} ms`],
        values: { ours: oneOurs, theirs: oneTheirs, p50: [p50(ours.one), p50(theirs.one)], hops },
      },
      {
        benchmark: `Redis through the link, ${LANES} pipelines of ${BATCH}`,
        figure: `${whole(median(ours.many))} ops/s`,
        reference: `direct: ${whole(median(theirs.many))} ops/s`,
        ratio: ratio(ours.many, theirs.many),
        values: { ours: ours.many, theirs: theirs.many },
      },
      {
        benchmark: 'a value of 16 MiB to Redis through the link and back',
        figure: `${median(ours.bulk).toFixed(1)} MB/s`,
        reference: `direct: ${median(theirs.bulk).toFixed(1)} MB/s`,
        ratio: ratio(ours.bulk, theirs.bulk),
        values: { ours: ours.bulk, theirs: theirs.bulk },
      },
    ];
  },
};

/** The port of a Worker's job that leads to this port through its Master. */
async function tunnelTo(lab: Lab, redisPort: number): Promise<number> {
  const settings = JSON.stringify({ runner: 'tunnel-holder', tunnel: 'redis' });
  const grid = await startMaster(lab, { 'task.json': settings }, { redis: `127.0.0.1:${redisPort}` });
  const worker = lab.start<TunnelWorkerVerbs>('tunnel-worker-process');
  await worker.ask('open', { token: grid.token, home: lab.makeFolder('home') });
  await grid.master.ask('push', undefined);
  return worker.ask('port', undefined);
}

function connectTo(lab: Lab, port: number): Redis {
  const client = new Redis({ host: '127.0.0.1', port, maxRetriesPerRequest: 0, retryStrategy: () => null });
  client.on('error', () => {});
  lab.onClose(async () => client.disconnect());
  return client;
}

/** Milliseconds of each command. */
async function sequential(client: Redis, count: number): Promise<number[]> {
  const times: number[] = [];
  for (let n = 0; n < count; n += 1) {
    const startedAt = performance.now();
    await client.set(`one ${n % 100}`, VALUE);
    times.push(performance.now() - startedAt);
  }
  return times;
}

/** Commands a second. */
async function pipelined(client: Redis, batches: number): Promise<number> {
  let left = batches;
  const startedAt = performance.now();
  const lane = async () => {
    while (left > 0) {
      left -= 1;
      const pipeline = client.pipeline();
      for (let n = 0; n < BATCH; n += 1) pipeline.set(`many ${n}`, VALUE);
      await pipeline.exec();
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  return (batches * BATCH * 1_000) / (performance.now() - startedAt);
}

/** Megabytes a second, both ways counted. */
async function bulk(client: Redis): Promise<number> {
  const value = Buffer.alloc(BULK_BYTES, 'bulk');
  const startedAt = performance.now();
  await client.set('bulk', value);
  const back = await client.getBuffer('bulk');
  if (back?.length !== BULK_BYTES) throw new Error(`${back?.length} bytes came back`);
  return (2 * BULK_BYTES) / 1_000 / (performance.now() - startedAt);
}
