import { join } from 'node:path';
import t from 'tap';
import { Master, Worker } from '../../src/index.js';
import { TrackerServer } from '../../src/swarm/tracker-server.node.js';
import { until } from '../lab/until.js';

/** For each metric, whether it may stay constant while its subject does not change. */
const metrics = {
  peerwork_jobs: 'moves',
  peerwork_settled_total: 'moves',
  peerwork_workers_connected: 'moves',
  peerwork_leases_expired_total: 'moves',
  peerwork_event_readers: 'moves',
  peerwork_http_request_seconds: 'moves',
  process_resident_memory_bytes: 'is there',
  nodejs_heap_used_bytes: 'is there',
  nodejs_eventloop_lag_p99_seconds: 'is there',
} as const;

t.test('each metric moves with what it tells of', async (t) => {
  const folder = t.testdir({ task: { 'task.mjs': 'export default (data) => data;' } });
  const tracker = new TrackerServer();
  await tracker.start(0, '127.0.0.1');
  t.teardown(() => tracker.close());
  const shared = { trackers: [tracker.url], ice: [], loglevel: 'error' } as const;
  const master = new Master({ ...shared, task: join(folder, 'task'), ledger: 'memory:', leaseMs: 1_000, http: { port: 0 } });
  t.teardown(() => master.close());
  const url = await master.url;
  const ask = (path: string, body?: unknown) =>
    fetch(
      `${url}${path}`,
      body === undefined ? {} : { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) },
    );
  const figures = async () => {
    const text = await (await ask('/metrics')).text();
    const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
    const of = (name: string) => lines.filter((line) => line.replace(/_(?:bucket|sum|count)(?=[{ ])/, '').split(/[{ ]/)[0] === name);
    return { named: [...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name = '']) => name), of };
  };
  const value = async (name: string) => Number((await figures()).of(name)[0]?.split(' ').at(-1));

  const before = await figures();
  t.same(before.named.sort(), Object.keys(metrics).sort(), 'the list is complete');
  // First a worker that takes a job and falls silent, then one that works.
  await master.push({ id: 'lost', channel: 'elsewhere', data: 1, attempts: 1 });
  const claimed = await ask('/v1/leases', { worker: { name: 'silent' }, channels: ['elsewhere'], leaseMs: 1_000 });
  t.match(await claimed.json(), { jobs: [{ id: 'lost' }] });
  const worker = new Worker({ ...shared, token: master.token, home: join(folder, 'home'), concurrency: 1 });
  t.teardown(() => worker.close());
  await worker.ready;
  await until(async () => (await value('peerwork_workers_connected')) === 1);
  for await (const _ of master.map([1]));
  const end = new AbortController();
  const events = await fetch(`${url}/v1/events`, { signal: end.signal });
  await until(async () => (await value('peerwork_event_readers')) === 1);
  await until(async () => (await value('peerwork_leases_expired_total')) === 1);
  const after = await figures();
  for (const [name, how] of Object.entries(metrics)) {
    if (how === 'moves') t.notSame(after.of(name), before.of(name), name);
    t.ok(after.of(name).length > 0, `${name} has a figure`);
  }
  end.abort();
  await events.text().catch(() => {});
  await worker.close();
  await until(async () => (await value('peerwork_workers_connected')) === 0);
  await until(async () => (await value('peerwork_event_readers')) === 0);
});
