import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { until } from '../../../lab/until.js';
import { openCrew } from './client.js';

/** Longer than a claim for tasks waits: whatever was in flight when something was stopped has ended by then. */
const SETTLED_MS = 2_600;

type Crew = Awaited<ReturnType<typeof openCrew>>;

/** An operator that has run one task and waits for the next. */
async function openHook(t: Test) {
  const calls: string[] = [];
  const server = createServer((request, response) => {
    let text = '';
    request.on('data', (chunk) => {
      text += chunk;
    });
    request.on('end', () => {
      calls.push(JSON.parse(text).taskId);
      response.setHeader('content-type', 'application/json');
      response.end('{"output":1}');
    });
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  const crew = await openCrew(t);
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  const operator = await crew.post('operators', { channel: 'c', url });
  const id = await crew.group();
  const made = await crew.task(id, { workgroup: 'w' });
  await until(async () => (await crew.get(`task/${made._id}`)).isComplete);
  return { ...crew, operator, id, calls, worker: { id: `crew:operator_${operator._id}`, name: `operator_${operator._id}` } };
}

type Hook = Awaited<ReturnType<typeof openHook>>;

/** Ways to stop things while the operator waits for tasks; a task for it is added afterwards. */
const stops: Readonly<Record<string, (hook: Hook) => Promise<unknown>>> = {
  'operator paused': async ({ send, operator }) => send('PUT', `operator/${operator._id}`, { isPaused: true }),
  'operator deleted': async ({ send, operator }) => send('DELETE', `operator/${operator._id}`),
  'operator moved to another channel': async ({ send, operator }) => send('PUT', `operator/${operator._id}`, { channel: 'other' }),
  'task group paused': async ({ post, id }) => post(`task_group/${id}/pause`),
  'workgroup held': async ({ ledger, service }) => ledger.holdWorkgroup('w', service.clock.now() + 60_000, service.clock.now()),
  'worker drained': async ({ service, worker }) => service.mark(worker, { drained: true }),
  'worker revoked': async ({ service, worker }) => service.mark(worker, { revoked: true }),
};

for (const [what, stop] of Object.entries(stops))
  t.test(`${what}: no call for what comes then`, async (t) => {
    const hook = await openHook(t);
    await stop(hook);
    const later = await hook.task(hook.id, { workgroup: 'w' });
    await sleep(SETTLED_MS);
    t.equal(hook.calls.length, 1, 'the one before');
    t.match(await hook.get(`task/${later._id}`), { isComplete: false, assignedTo: null, remainingAttempts: 5, errors: [] });
  });

t.test('an operator that goes on is called at once again, and one that is made meanwhile is found at once', async (t) => {
  const hook = await openHook(t);
  await hook.send('PUT', `operator/${hook.operator._id}`, { isPaused: true });
  const later = await hook.task(hook.id);
  await hook.send('PUT', `operator/${hook.operator._id}`, { isPaused: false });
  await until(async () => (await hook.get(`task/${later._id}`)).isComplete);
  t.same(hook.calls.slice(1), [later._id]);
});

/** Tasks that are deleted, reset or postponed while they wait, so that there is nothing to call for. */
const takenAway: Readonly<Record<string, (crew: Hook, task: string) => Promise<unknown>>> = {
  'task deleted': async ({ send }, task) => send('DELETE', `task/${task}`),
  'task group deleted': async ({ send, id }) => send('DELETE', `task_group/${id}`),
  'task out of attempts': async ({ send }, task) => send('PUT', `task/${task}`, { remainingAttempts: 0 }),
  'task put off': async ({ send }, task) => send('PUT', `task/${task}`, { runAfter: new Date(Date.now() + 3_600_000).toISOString() }),
  'task group reset with a seed': async ({ post, id, ledger, service }, task) => {
    const [seed] = await ledger.add([{ data: 1, channel: 'elsewhere', group: id, seed: true }], service.clock.now());
    await post(`task_group/${id}/reset`);
    return [seed, task];
  },
};

for (const [what, take] of Object.entries(takenAway))
  t.test(`${what} before the operator goes on: no call for it`, async (t) => {
    const hook = await openHook(t);
    await hook.send('PUT', `operator/${hook.operator._id}`, { isPaused: true });
    const waiting = await hook.task(hook.id);
    await take(hook, waiting._id);
    await hook.send('PUT', `operator/${hook.operator._id}`, { isPaused: false });
    await sleep(SETTLED_MS);
    t.notOk(hook.calls.includes(waiting._id));
  });

/** The same for polling workers. */
const refusals: Readonly<Record<string, (crew: Crew, id: string, task: string) => Promise<unknown>>> = {
  'task group paused': async ({ post }, id) => post(`task_group/${id}/pause`),
  'task group deleted': async ({ send }, id) => send('DELETE', `task_group/${id}`),
  'task deleted': async ({ send }, _, task) => send('DELETE', `task/${task}`),
  'workgroup held': async ({ ledger, service }) => ledger.holdWorkgroup('w', service.clock.now() + 60_000, service.clock.now()),
  'worker drained': async ({ service }) => service.mark({ id: 'crew:w1', name: 'w1' }, { drained: true }),
  'worker revoked': async ({ service }) => service.mark({ id: 'crew:w1', name: 'w1' }, { revoked: true }),
};

for (const [what, stop] of Object.entries(refusals))
  t.test(`${what}: a worker that asks gets nothing`, async (t) => {
    const crew = await openCrew(t);
    const id = await crew.group();
    const made = await crew.task(id, { workgroup: 'w' });
    await stop(crew, id, made._id);
    const answer = await crew.acquire();
    t.notOk(answer.task, 'no task');
    if (what === 'worker revoked') t.match(answer, { message: String });
  });
