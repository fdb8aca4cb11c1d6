import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { crewSource, dorySource, Master, openfnSource, queueXecSource, type SourceSetup, Worker, worqrSource } from '../../src/index.js';
import { TrackerServer } from '../../src/swarm/tracker-server.node.js';
import { crewServer } from '../../src/wires/crew/server/crew.js';
import { CrewServer } from '../lab/crew-server.js';
import { openApi } from '../lab/job-service.js';
import { Listening } from '../lab/listening.js';
import { echoTask, openSource } from '../lab/open-source.js';
import { KEY, TOKEN } from '../lab/queue-xec/foreign.js';
import { until } from '../lab/until.js';

const OPERATIONS = 60;
/** Listener limit for signals that live as long as their room: a few parts of it listen, plus whatever is in flight. */
const MOST = 20;

function listen(t: Test): Listening {
  const listening = Listening.start();
  t.teardown(() => listening.end());
  return listening;
}

t.test('jobs leave nothing on the signals of Master and Worker, nor on the caller’s', async (t) => {
  const listening = listen(t);
  const folder = t.testdir({ task: { 'task.mjs': 'export default (data) => data;' } });
  const tracker = new TrackerServer();
  await tracker.start(0, '127.0.0.1');
  t.teardown(() => tracker.close());
  const shared = { trackers: [tracker.url], ice: [], loglevel: 'error' } as const;
  const master = new Master({ ...shared, task: join(folder, 'task'), ledger: 'memory:' });
  t.teardown(() => master.close());
  const worker = new Worker({ ...shared, token: master.token, home: join(folder, 'home'), concurrency: 4 });
  t.teardown(() => worker.close());
  await worker.ready;
  const { signal } = new AbortController();
  for (let call = 0; call < OPERATIONS; call += 1) for await (const _ of master.map([1, 2], { signal }));
  for (let version = 0; version < 5; version += 1) {
    const published = new Promise((resolve) => master.once('published', resolve));
    writeFileSync(join(folder, 'task', 'task.mjs'), `export default (data) => data + ${version};`);
    await published;
    for await (const _ of master.map([1, 2], { signal }));
  }
  t.ok(listening.most < MOST, String(listening.most));
});

t.test('requests leave nothing on the signals of an API, nor calls of operators', async (t) => {
  const listening = listen(t);
  const operator = createServer((request, response) => request.resume().once('end', () => response.end('{"output":1}')));
  await new Promise<void>((resolve) => operator.listen(0, '127.0.0.1', resolve));
  t.teardown(() => operator.close());
  const virtualOperatorUrl = `http://127.0.0.1:${(operator.address() as AddressInfo).port}/`;
  const { ask, ledger } = await openApi(t, { serve: [crewServer({ virtualOperatorUrl })] });
  for (let call = 0; call < OPERATIONS; call += 1) {
    const claimed = await ask('POST', '/v1/leases', { worker: { name: 'w' }, channels: ['none'] });
    const results = await ask('GET', '/v1/results');
    if (claimed.status !== 200 || results.status !== 200) t.fail('they are answered');
  }
  await ask(
    'POST',
    '/v1/jobs',
    Array.from({ length: OPERATIONS }, (_, at) => ({ id: `job-${at}`, channel: 'called', data: at })),
  );
  await until(async () => (await ledger.get(`job-${OPERATIONS - 1}`))?.state === 'completed');
  t.ok(listening.most < MOST, String(listening.most));
});

t.test('claims leave nothing on the signals of a source', async (t) => {
  const nowhere = '127.0.0.1:1';
  const credentialsFile = join(t.testdir(), 'credentials');
  const setups: Readonly<Record<string, (t: Test) => SourceSetup>> = {
    crew: (t) => crewSource({ url: `http://${nowhere}/`, tasks: { c: echoTask(t) } }),
    dory: () => dorySource({ apiBaseUrl: `http://${nowhere}`, apiKey: 'dwk_test', credentialsFile, redisUrl: `redis://${nowhere}` }),
    openfn: () => openfnSource({ url: `ws://${nowhere}/worker`, secret: 'secret' }),
    'queue-xec': () => queueXecSource({ token: TOKEN, transferEncryptToken: KEY, lsd: false, dht: false }),
    worqr: (t) => worqrSource({ url: `redis://${nowhere}`, tasks: { q: echoTask(t) } }),
  };
  for (const [name, setup] of Object.entries(setups))
    await t.test(name, async (t) => {
      const listening = listen(t);
      const { source } = await openSource(t, setup(t), undefined, ['task-module', 'crawl', 'openfn']);
      let brought = 0;
      for (let claim = 0; claim < OPERATIONS; claim += 1) {
        const withdraw = new AbortController();
        const claimed = source.claim(1, withdraw.signal);
        await new Promise((resolve) => setImmediate(resolve));
        withdraw.abort();
        brought += (await claimed).length;
      }
      t.equal(brought, 0);
      const { signal } = new AbortController();
      for (let flush = 0; flush < OPERATIONS; flush += 1) await source.flush(signal);
      t.ok(listening.most < MOST, String(listening.most));
    });
});

t.test('tasks of a crew server leave nothing', async (t) => {
  const listening = listen(t);
  const server = new CrewServer();
  await server.start();
  t.teardown(() => server.stop());
  for (let task = 0; task < OPERATIONS; task += 1) server.add('c');
  const { source } = await openSource(t, crewSource({ url: server.url, tasks: { c: echoTask(t) } }));
  const { signal } = new AbortController();
  for (let done = 0; done < OPERATIONS; ) {
    const leases = await source.claim(4, signal);
    for (const lease of leases) await lease.settle({ state: 'completed', output: done });
    done += leases.length;
  }
  await source.flush(signal);
  t.ok(listening.most < MOST, String(listening.most));
});
