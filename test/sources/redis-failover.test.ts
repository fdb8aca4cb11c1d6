/** What every source based on Redis must survive: a failover with the connection open, sentinels, TLS, users with few permissions. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Queue } from 'bullmq';
import * as ioredis from 'ioredis';
import { Redis } from 'ioredis';
import t, { type Test } from 'tap';
import { RedisQueue } from '../../src/crawl/queue/redis-queue.js';
import { openRedis } from '../../src/crawl/redis.js';
import { worqrSource } from '../../src/index.js';
import { readRedisPlace, redisClientOptions } from '../../src/kit/redis-url.js';
import { Grid } from '../lab/grid.js';
import { echoTask, openSource } from '../lab/open-source.js';
import { LabRedis, requireRedis } from '../lab/redis.js';
import { makeCertificate, RedisPair, WatchedRedis } from '../lab/redis-failover.js';
import { until } from '../lab/until.js';
import { DoryLab } from '../wires/dory/source/lab.js';

const never = new AbortController().signal;
const completed = { state: 'completed', output: 'fine' } as never;

/** Two ways to fail over, each with the address that a source receives. */
const ways: readonly [string, (t: Test) => Promise<{ readonly url: string; failOver(): Promise<void> }>][] = [
  ['the old primary stays connected as a replica', (t) => RedisPair.start(t)],
  ['sentinels name another primary', (t) => WatchedRedis.start(t)],
];

/** Sends a command through a client that eventually finds the primary. */
async function send(t: Test, url: string, ...command: [string, ...string[]]): Promise<unknown> {
  const client = new Redis({ ...redisClientOptions(readRedisPlace(url)), retryStrategy: () => 100, maxRetriesPerRequest: null });
  client.on('error', () => {});
  t.teardown(() => client.disconnect());
  const [name, ...words] = command;
  for (;;) {
    try {
      return await client.call(name, ...words);
    } catch {
      client.disconnect(true);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

for (const [way, start] of ways) {
  t.test(`worqr: ${way}`, async (t) => {
    if (!requireRedis(t)) return;
    const place = await start(t);
    const times = { workerTimeoutMs: 900, sweepMs: 300, pollMs: 400, backoffMs: 20 };
    const { source, take } = await openSource(t, worqrSource({ url: place.url, tasks: { q: echoTask(t) }, ...times }));
    await send(t, place.url, 'LPUSH', 'worqr:queues:q', 'before');
    const before = await take();
    await place.failOver();
    await before.settle(completed);
    await source.flush(AbortSignal.timeout(240_000));
    await send(t, place.url, 'LPUSH', 'worqr:queues:q', 'after');
    // The first job may be delivered again: the last write may not have reached the replica.
    for (let text = ''; text !== 'after'; ) {
      const lease = await take();
      text = String(lease.job.data);
      await lease.settle(completed);
    }
    await source.flush(never);
    t.pass('the source takes work from the new primary');
  });

  t.test(`dory: ${way}`, async (t) => {
    if (!requireRedis(t)) return;
    const place = await start(t);
    const lab = await DoryLab.start();
    t.teardown(() => lab.close());
    const queue = new Queue('run-execution', {
      connection: { ...redisClientOptions(readRedisPlace(place.url)), retryStrategy: () => 100 },
    });
    queue.on('error', () => {});
    const add = async (runId: string) => {
      lab.api.addRun(runId);
      await queue.add('execute', { runId });
    };
    const worker = lab.worker('home', { redisUrl: place.url });
    await add('before');
    (await worker.crawl(0)).complete();
    await until(() => lab.api.runs.get('before')?.status === 'completed');
    await place.failOver();
    await queue.close();
    const afterwards = new Queue('run-execution', { connection: redisClientOptions(readRedisPlace(place.url)) });
    afterwards.on('error', () => {});
    t.teardown(() => afterwards.close());
    lab.api.addRun('after');
    await until(async () => (await afterwards.add('execute', { runId: 'after' }).catch(() => undefined)) !== undefined);
    const runs = await worker.crawl(1);
    t.equal(runs.crawl.runId, 'after');
    runs.complete();
    await lab.clear();
  });
}

t.test('the queue of a crawl goes on at the new primary, without a word', async (t) => {
  if (!requireRedis(t)) return;
  const pair = await RedisPair.start(t);
  const redis = openRedis(ioredis, { url: pair.url });
  t.teardown(() => redis.disconnect());
  const queue = new RedisQueue({ redis, queue: 'q', client: 'one' });
  await queue.join();
  await queue.add([{ id: 'a', json: '{"url":"http://a"}' }]);
  await pair.failOver();
  t.same(await queue.add([{ id: 'b', json: '{"url":"http://b"}' }]), ['added'], 'a command that the old one refused is sent again');
  t.same((await queue.claim(10)).requests.map(({ id }) => id).sort(), ['a', 'b']);
});

t.test('a place that stays a replica rejects in the end', async (t) => {
  if (!requireRedis(t)) return;
  const pair = await RedisPair.start(t);
  const redis = openRedis(ioredis, { url: pair.second.url, patienceMs: 500 });
  t.teardown(() => redis.disconnect());
  await t.rejects(redis.set('a', 1), { message: /READONLY/ });
});

t.test('dory: a user that may do no more than a worker needs', async (t) => {
  if (!requireRedis(t)) return;
  const rights = '~bull:run-execution:* +@read +@write +@blocking +@connection +@scripting +@transaction +info';
  const server = await LabRedis.start({ users: [`runs on >let-me-in ${rights}`] });
  t.teardown(() => server.close());
  const lab = await DoryLab.start();
  t.teardown(() => lab.close());
  const queue = new Queue('run-execution', { connection: { url: server.url } });
  queue.on('error', () => {});
  t.teardown(() => queue.close());
  const denied = lab.worker('denied', { redisUrl: server.url.replace('//', '//runs:wrong@') });
  await until(() => denied.warnings.includes('redis-denied'));
  const worker = lab.worker('home', { redisUrl: server.url.replace('//', '//runs:let-me-in@') });
  lab.api.addRun('one');
  const job = await queue.add('execute', { runId: 'one' });
  const crawl = await worker.crawl(0);
  const client = server.connect();
  const marks = ['worker:home', 'run:one'].map((name) => `bull:run-execution:peerwork:${name}`);
  await until(async () => (await client.exists(...marks)) === marks.length);
  client.disconnect();
  crawl.complete();
  await until(async () => (await queue.getJobState(job.id ?? '')) === 'completed');
  await lab.clear();
  t.pass('done');
});

t.test('TLS, and a user that may do no more than a worker needs', async (t) => {
  if (!requireRedis(t)) return;
  const tls = makeCertificate(t);
  const rights = '~worqr* ~peerwork-worqr* &worqr* +@read +@write +@connection +@pubsub +@scripting +@transaction -@dangerous';
  const lab = await LabRedis.start({ tls, users: [`limited on >let-me-in ${rights}`] });
  t.teardown(() => lab.close());
  const grid = new Grid();
  t.teardown(() => grid.close());
  mkdirSync(join(grid.folder, 'task'));
  writeFileSync(join(grid.folder, 'task', 'task.js'), 'module.exports = async (data) => data;\n');
  const start = (login: string) =>
    grid.start(['worker', '--concurrency', '1', '--sandbox', 'off'], {
      env: {
        NODE_EXTRA_CA_CERTS: tls.ca,
        PEERWORK_WORQR_URL: `rediss://${login}@localhost:${lab.port}`,
        PEERWORK_WORQR_TASKS: 'q=task',
      },
    });
  const client = lab.connect();
  t.teardown(() => client.disconnect());
  const denied = start('limited:hunter2hunter2');
  const complaint = await denied.line(/redis-denied/);
  t.notMatch(complaint, /hunter2/);
  await denied.stop();
  const worker = start('limited:let-me-in');
  await worker.line(/worker starts .*sources=worqr/);
  await client.lpush('worqr:queues:q', 'a task');
  await until(async () => (await client.llen('worqr:queues:q')) === 0 && (await client.keys('worqr:processes:*')).length === 0);
  t.notMatch(worker.text, /let-me-in/);
  await worker.stop();
});
