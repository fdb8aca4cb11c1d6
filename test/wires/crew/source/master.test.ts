import t from 'tap';
import { crewSource } from '../../../../src/index.js';
import { CrewServer } from '../../../lab/crew-server.js';
import { aborted, echoTask, openSource } from '../../../lab/open-source.js';
import { seededRandom } from '../../../lab/seeded-random.js';
import { until } from '../../../lab/until.js';
import { openCrew } from '../server/client.js';

const SEED = 20_261_125;
const never = new AbortController().signal;

t.test('beside crew workers on a Master of ours: parents, children, holds, errors, giving back, cancelling', async (t) => {
  const master = await openCrew(t);
  const tasks = { c: echoTask(t), d: echoTask(t) };
  const { source, take } = await openSource(t, crewSource({ url: `${master.url}/crew`, tasks, watchMs: 50 }));
  const group = await master.group();
  const parent = await master.task(group, { input: { n: 1 } });
  const first = await take();
  t.match(first.job, { id: parent._id, data: { n: 1 }, attempt: 1 });
  const children = [
    { ref: 'last', parents: ['one', 'two'], channel: 'd', data: 'last' },
    { ref: 'one', channel: 'd', data: 'one', workgroup: 'w' },
    { ref: 'two', channel: 'd', data: 'two', workgroup: 'w' },
  ];
  await first.settle({ state: 'completed', output: { sum: 3 }, children });
  const one = await take();
  t.match(one.job, { channel: 'd', data: 'one', parents: [{ id: parent._id, output: { sum: 3 } }] });
  const two = await take();
  await one.settle({ state: 'completed', output: 1 });
  await two.settle({ state: 'released', reason: 'the worker stops' });
  const again = await take();
  t.match(again.job, { id: two.job.id, attempt: 1 }, 'given back without a charge');
  await again.settle({ state: 'failed', error: { code: 'task-threw', message: 'once' }, retry: true, holdMs: 3_600_000 });
  await source.flush(never);
  const after = await master.get(`task/${two.job.id}`);
  t.match(after, { errors: ['once'], assignedTo: null, isComplete: false });
  await master.task(group, { channel: 'd', workgroup: 'w' });
  t.same(await master.acquire('another', 'd'), { task: null }, 'the workgroup is held');

  const cancelled = await master.task(group, {});
  const lease = await take();
  t.equal(lease.job.id, cancelled._id);
  await master.send('DELETE', `task/${cancelled._id}`);
  await aborted(lease.signal);
});

t.test('250 seeded answers that no crew server would give: none ends the source, none is taken for work that it is not', async (t) => {
  const random = seededRandom(SEED);
  const server = new CrewServer();
  await server.start();
  t.teardown(() => server.stop());
  const values = [
    'null',
    '0',
    '""',
    '"x"',
    '[]',
    '{}',
    '[null]',
    '{"_id":1}',
    '{"_id":""}',
    '{"_id":"a\\u0000b"}',
    `{"_id":"${'x'.repeat(999)}"}`,
  ] as const;
  const bodies = () => {
    switch (random.below(5)) {
      case 0:
        return `{"task":${random.pick(values)},"parents":${random.pick(values)}}`;
      case 1:
        return `{"task":{"_id":"ok","input":${random.pick(values)},"errors":${random.pick(values)},"remainingAttempts":${random.pick(values)}},"parents":[${random.pick(values)}]}`;
      case 2:
        return Buffer.from(random.bytes(random.below(200))).toString('latin1');
      case 3:
        return random.pick(values);
      default:
        return '<!doctype html><title>crew</title>';
    }
  };
  const statuses = [200, 200, 200, 201, 204, 301, 400, 401, 404, 418, 500, 503] as const;
  let answered = 0;
  server.misbehave = (_, response) => {
    answered += 1;
    const status = random.pick(statuses);
    const headers = random.below(10) === 0 ? { 'retry-after': random.pick(['x', '-1', '0', '', 'Thu, 01 Jan 1970 00:00:00 GMT']) } : {};
    if (random.below(12) === 0) return response.destroy();
    return response.writeHead(status, headers).end(status === 204 ? undefined : bodies());
  };
  // Each source waits longer after each failure, so several of them take turns.
  const url = `http://127.0.0.1:${new URL(server.url).port}`;
  const opened = await Promise.all(
    Array.from({ length: 60 }, () => openSource(t, crewSource({ url, tasks: { c: echoTask(t), d: echoTask(t) }, intervalMs: 100 }))),
  );
  const stop = new AbortController();
  const claims = opened.map(async ({ source }) => {
    while (!stop.signal.aborted)
      for (const lease of await source.claim(2, stop.signal)) {
        t.equal(lease.job.id, 'ok');
        await lease.settle({ state: 'completed', output: null, ...(random.below(2) === 0 && { children: [{ data: 1 }] }) });
      }
  });
  await until(() => answered >= 250);
  stop.abort();
  await Promise.all(claims);
  server.misbehave = (_, response) => response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
  await Promise.all(opened.map(({ close }) => close()));
  for (const { warnings } of opened) t.ok(warnings.every(({ code }) => code.startsWith('crew-')));
});
