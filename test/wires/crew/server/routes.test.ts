import t from 'tap';
import { Operators } from '../../../../src/wires/crew/server/operators.js';
import { failed } from '../../../ledger/verbs.js';
import { openCrew } from './client.js';

const HEX = /^[0-9a-f]{24}$/;
const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/;

t.test('groups: create, list, count, change, delete', async (t) => {
  const { get, post, send } = await openCrew(t);
  const made = await post('task_groups', { name: 'first', isPaused: false });
  t.match(made, { _id: HEX, name: 'first', isPaused: false, createdAt: ISO });
  t.match(await post('task_groups'), { name: null });
  t.match(await get('task_groups/count'), { count: 2 });
  t.equal((await get('task_groups')).length, 2);
  t.match(await get('task_groups?limit=1&skip=1'), [{ _id: made._id }]);
  t.match((await send('PUT', `task_group/${made._id}`, { name: 'renamed', colour: 'red', isPaused: true })).body, {
    name: 'renamed',
    colour: 'red',
    isPaused: false,
  });
  t.match(await get(`task_group/${made._id}`), { name: 'renamed', colour: 'red' });
  t.match(await send('GET', 'task_group/000000000000000000000000'), {
    status: 404,
    body: { message: 'TaskGroup with id 000000000000000000000000 not found!' },
  });
  t.match(await send('PUT', 'task_group/nobody', {}), {
    status: 500,
    body: { message: /^Argument passed in must be a string of 12 bytes/ },
  });
  t.match((await send('DELETE', `task_group/${made._id}`)).body, { acknowledged: true, deletedCount: 1 });
  t.match((await send('DELETE', `task_group/${made._id}`)).body, { acknowledged: true, deletedCount: 0 });
  t.equal((await send('POST', 'task_group/000000000000000000000000/retry', {})).body, null);
});

t.test('tasks: every field, with crew’s defaults', async (t) => {
  const { get, send, group, task } = await openCrew(t);
  const id = await group();
  const made = await task(id, { input: 0 });
  t.strictSame(
    { ...made, _id: '', createdAt: '' },
    {
      _id: '',
      taskGroupId: id,
      name: 'T',
      channel: 'c',
      workgroup: null,
      key: null,
      remainingAttempts: 5,
      isPaused: false,
      parentsComplete: false,
      isComplete: false,
      priority: 0,
      runAfter: null,
      progressWeight: 1,
      isSeed: false,
      errorDelayInSeconds: 30,
      input: null,
      output: null,
      errors: [],
      createdAt: '',
      parentIds: [],
      assignedTo: null,
      assignedAt: null,
      executeMessageId: null,
      examineMessageId: null,
    },
  );
  t.match(made, { _id: HEX, createdAt: ISO });
  const runAfter = new Date(Date.now() + 3_600_000).toISOString();
  const full = {
    workgroup: 'w',
    key: 'k',
    remainingAttempts: 2,
    priority: 7,
    runAfter,
    progressWeight: 3,
    isSeed: true,
    errorDelayInSeconds: 0,
    input: { a: [1] },
    parentIds: [made._id],
  };
  const child = await task(id, full);
  t.match(child, full);
  t.match(await get(`task/${child._id}`), full);
  t.match(
    (await send('PUT', `task/${child._id}`, { name: 'N', priority: 1, output: 5, isComplete: true, remainingAttempts: 9, runAfter: null }))
      .body,
    { name: 'N', priority: 1, output: null, isComplete: false, remainingAttempts: 9, runAfter: null },
  );
  t.same(
    (await get(`task_group/${id}/tasks`)).map(({ _id }: { _id: string }) => _id),
    [child._id, made._id],
    'newest first',
  );
  t.equal((await get('channel/c/tasks?limit=1')).length, 1);
  t.match(await get('channels'), [{ name: 'c', totalCount: 2, completedCount: 0, assignedCount: 0 }]);
  t.match(await send('GET', 'task/000000000000000000000000'), {
    status: 404,
    body: { message: 'Task with id 000000000000000000000000 not found!' },
  });
  t.match(await send('POST', 'task_group/nobody/tasks', {}), { status: 500 });
  t.match(await send('POST', `task_group/${id}/tasks`, { channel: 'c', parentIds: ['nobody'] }), { status: 500 });
  t.match((await send('DELETE', `task/${made._id}`)).body, { acknowledged: true, deletedCount: 1 });
  t.match(await send('GET', `task/${child._id}`), { status: 404 }, 'with its descendants');
});

t.test('acquire and release', async (t) => {
  const { send, group, task, acquire, release, get } = await openCrew(t);
  const id = await group();
  const low = await task(id, { priority: -1, input: { n: 1 } });
  const high = await task(id, { priority: 5 });
  t.match(await send('POST', 'channel/c/acquire', {}), { status: 500, body: { message: 'workerId is required!' } });
  const first = await acquire();
  t.match(first, { task: { _id: high._id, assignedTo: 'w1', assignedAt: ISO, remainingAttempts: 5 }, parents: [] });
  t.match((await acquire()).task._id, low._id);
  t.strictSame(await acquire(), { task: null });
  t.match(await release(high._id, {}, 'other'), { status: 500, body: { message: 'Worker id did not match!' } });
  t.match(await send('POST', `task/${high._id}/release`, {}), { status: 500, body: { message: 'workerId is required!' } });
  t.match(await release('000000000000000000000000'), { status: 500, body: { message: 'Unable to find task!' } });
  t.match(await release(high._id, { output: { r: 1 } }), {
    status: 200,
    body: { isComplete: true, output: { r: 1 }, remainingAttempts: 0, assignedTo: null },
  });
  t.match(
    await release(high._id, { error: 'late' }, 'other'),
    { status: 200, body: { isComplete: true, output: { r: 1 }, errors: [] } },
    'told again, by whomever',
  );
  t.match(await release(low._id, { error: { deep: [1] } }), {
    body: { isComplete: false, remainingAttempts: 4, errors: [{ deep: [1] }], runAfter: ISO, assignedTo: null },
  });
  const wait = Date.parse((await get(`task/${low._id}`)).runAfter) - Date.now();
  t.ok(wait > 25_000 && wait <= 30_000, 'errorDelayInSeconds');
});

t.test('what is no JSON', async (t) => {
  const { url } = await openCrew(t);
  const post = (body: string, type?: string) =>
    fetch(`${url}/crew/api/v1/task_groups`, { method: 'POST', body, headers: type === undefined ? {} : { 'content-type': type } });
  t.equal((await post('name=x', 'application/x-www-form-urlencoded')).status, 200);
  t.equal((await post('{"name":', 'application/json')).status, 400);
  for (const body of ['null', '5', '"text"']) t.equal((await post(body, 'application/json')).status, 400);
  t.equal((await post(`{"name":"${'x'.repeat(11 * 1024 * 1024)}"}`, 'application/json')).status, 413);
  t.equal((await fetch(`${url}/crew/api/v1/nowhere`)).status, 404);
  t.match(await (await fetch(`${url}/crew/healthz`)).json(), { healthy: true });
  t.match(await (await fetch(`${url}/crew`)).text(), /api-docs/);
});

t.test('group reset, retry, pause; task reset, retry, pluck', async (t) => {
  const { get, post, group, task, acquire, release } = await openCrew(t);
  const id = await group();
  const seed = await task(id, { isSeed: true, remainingAttempts: 1 });
  await acquire();
  await release(seed._id, { error: 'e' });
  t.match(await get(`task/${seed._id}`), { remainingAttempts: 0, isComplete: false, errors: ['e'] });
  await post(`task_group/${id}/retry`, { remainingAttempts: 3 });
  t.match(await get(`task/${seed._id}`), { remainingAttempts: 3 });
  await acquire();
  await release(seed._id, { output: 1, children: [{ channel: 'c', name: 'child' }] });
  t.equal((await get(`task_group/${id}/tasks`)).length, 2);
  t.match(await post(`task_group/${id}/pause`), { isPaused: true });
  t.match(await get(`task/${seed._id}`), { isPaused: true });
  t.strictSame(await acquire(), { task: null });
  t.match(await post(`task_group/${id}/resume`), { isPaused: false });
  t.match(await post(`task_group/${id}/reset`), { _id: id });
  t.match(await get(`task_group/${id}/tasks`), [{ _id: seed._id, isComplete: false, output: null, errors: [] }]);
  t.match(await post(`task/${seed._id}/reset`, {}), { remainingAttempts: 2 });
  t.match(await post(`task/${seed._id}/retry`, { remainingAttempts: 7 }), { remainingAttempts: 7 });
  const plucked = await post(`task/${seed._id}/pluck`);
  t.match(plucked, { isPaused: true, name: 'T' });
  t.match(await get(`task_group/${plucked.taskGroupId}`), { name: `Pluck Task ${seed._id}`, isPaused: true });
  for (const verb of ['examine', 'execute']) t.match(await post(`task/${seed._id}/${verb}`), { success: true });
  t.match(await post('task/nobody/examine'), { task: null });
  for (const verb of ['clean', 'bootstrap', 'sync']) t.match(await get(verb), { success: true });
});

t.test('what cannot be kept just so is refused as crew refuses, with its field, and nothing is changed', async (t) => {
  const { get, send, group, task, acquire, release } = await openCrew(t);
  const id = await group();
  const path = `task_group/${id}/tasks`;
  const wrong: readonly [object, RegExp][] = [
    [{ priority: 1e9 }, /^priority: 1000000000 cannot be kept; it must be a whole number from -1000000 to 1000000$/],
    [{ priority: 1.5 }, /^priority: 1\.5 cannot/],
    [{ progressWeight: -1 }, /^progressWeight: -1 cannot be kept; it must be a number from 0 to 1000000 with at most six decimals$/],
    [{ progressWeight: 1e9 }, /^progressWeight: 1000000000 cannot/],
    [{ progressWeight: '2' }, /^progressWeight: "2" cannot/],
    [{ isSeed: 'yes' }, /^isSeed: "yes" cannot be kept; it must be true or false$/],
    [{ runAfter: 'nonsense' }, /^runAfter: "nonsense" cannot/],
    [{ remainingAttempts: '3' }, /^remainingAttempts: "3" cannot/],
    [{ remainingAttempts: -1 }, /^remainingAttempts: -1 cannot/],
    [{ errorDelayInSeconds: 7_200 }, /^errorDelayInSeconds: 7200 cannot be kept; it must be seconds from 0 to 3600$/],
    [{ errorDelayInSeconds: 'soon' }, /^errorDelayInSeconds: "soon" cannot/],
    [{ runAfter: '2999-01-01T00:00:00Z' }, /^runAfter: .*within a year, such as /],
    [{ channel: { a: 1 } }, /^channel: \{"a":1\} cannot be kept; it must be a text$/],
  ];
  for (const [fields, message] of wrong)
    t.match(await send('POST', path, { name: 'T', channel: 'c', ...fields }), { status: 500, body: { message } });
  t.same(await get(path), [], 'nothing is made of them');
  const made = await task(id, { priority: -5, progressWeight: 0.25, remainingAttempts: 2, errorDelayInSeconds: '1.5' });
  t.match(made, { priority: -5, progressWeight: 0.25, remainingAttempts: 2, errorDelayInSeconds: '1.5' }, 'and this is kept exactly');
  for (const [fields, message] of wrong)
    t.match(await send('PUT', `task/${made._id}`, { name: 'changed', ...fields }), { status: 500, body: { message } });
  t.match(await get(`task/${made._id}`), made, 'all of a change, or nothing');
  for (const verb of ['reset', 'retry'])
    t.match(await send('POST', `task/${made._id}/${verb}`, { remainingAttempts: 2.5 }), {
      status: 500,
      body: { message: /^remainingAttempts: 2\.5 cannot/ },
    });
  await acquire();
  const children = [{ channel: 'c' }, { channel: 'c', priority: 0.5 }];
  t.match(await release(made._id, { output: 1, children }), { status: 500, body: { message: /^children\.1\.priority: 0\.5 cannot/ } });
  t.match(await release(made._id, { output: 1, childrenDelayInSeconds: 1e9 }), {
    status: 500,
    body: { message: /^childrenDelayInSeconds: / },
  });
  t.match(await get(`task/${made._id}`), { assignedTo: 'w1', isComplete: false });
  t.match(await release(made._id, { output: 1, children: children.slice(0, 1) }), { status: 200, body: { isComplete: true } });
  t.equal((await get(path)).length, 2);
});

t.test('what the ledger keeps in other words is shown as it was sent, before and after a change', async (t) => {
  const { get, send, group, task, acquire, release, post } = await openCrew(t);
  const id = await group({ name: '' });
  t.match(await get(`task_group/${id}`), { name: '' });
  t.match((await send('PUT', `task_group/${id}`, { name: null, colour: 'red' })).body, { name: null, colour: 'red' });
  t.match((await send('PUT', `task_group/${id}`, { name: 'N' })).body, { name: 'N', colour: 'red' });
  t.match(await send('POST', 'task_groups', { isPaused: 'yes' }), { status: 500, body: { message: /^isPaused: "yes" cannot/ } });
  const odd = { name: 5, workgroup: 7, key: 8, errorDelayInSeconds: null, input: 'text' };
  const made = await task(id, odd);
  t.match(made, odd);
  t.match(await task(id, { name: 'x'.repeat(300) }), { name: 'x'.repeat(300) });
  t.match(await task(id, { workgroup: '', key: '', parentIds: [] }), { workgroup: null, key: null, parentsComplete: true });
  t.match(await task(id), { parentsComplete: false });
  const path = `task/${made._id}`;
  t.match((await send('PUT', path, { priority: 3, whoKnows: [1] })).body, { ...odd, priority: 3, whoKnows: [1] });
  t.match((await send('PUT', path, { name: '', workgroup: '', key: null })).body, { name: '', workgroup: '', key: null });
  t.match((await send('PUT', path, { name: 'plain', errorDelayInSeconds: 2 })).body, { name: 'plain', errorDelayInSeconds: 2 });
  t.match(await send('PUT', path, { parentIds: [] }), { status: 200 }, 'as crew-ui sends it with each change');
  t.match(await send('PUT', path, { parentIds: ['000000000000000000000000'] }), { status: 500, body: { message: /^parentIds: / } });
  for (const parentIds of ['abc', {}, ['xyz']]) t.match(await send('POST', `task_group/${id}/tasks`, { parentIds }), { status: 500 });
  t.match((await acquire()).task, { _id: made._id });
  t.match(await release(made._id, { output: 1 }), { body: { remainingAttempts: 0, runAfter: null } });
  t.match(
    await post(`${path}/retry`, { remainingAttempts: '3' }),
    { isComplete: true, remainingAttempts: 3 },
    'a retry of what is complete',
  );
  t.match((await send('PUT', path, { name: 'after' })).body, { name: 'after', isComplete: true, output: 1, remainingAttempts: 3 });
  t.match(await post(`${path}/reset`), { name: 'after', isComplete: false, remainingAttempts: 2 });
  t.match(await get(path), { remainingAttempts: 2 });
});

t.test('a workgroup delay is shown as runAfter of its tasks, and outlasts the delay of an error', async (t) => {
  const { get, group, task, acquire, release } = await openCrew(t);
  const id = await group();
  const [one, two] = [await task(id, { workgroup: 'w' }), await task(id, { workgroup: 'w' })];
  await acquire();
  const inSeconds = ({ runAfter }: { runAfter: string }) => (Date.parse(runAfter) - Date.now()) / 1_000;
  const { body } = await release(one._id, { error: 'e', workgroupDelayInSeconds: 100 });
  for (const shown of [body, await get(`task/${two._id}`), ...(await get(`task_group/${id}/tasks`))]) {
    t.ok(inSeconds(shown) > 60, shown.runAfter);
    t.ok(inSeconds(shown) <= 100, shown.runAfter);
  }
});

t.test('what a client gets wrong is answered as crew answers it', async (t) => {
  const { send, group, task, acquire, release } = await openCrew(t);
  const made = await task(await group());
  const malformed = {
    status: 500,
    body: { message: 'Argument passed in must be a string of 12 bytes or a string of 24 hex characters or an integer' },
  };
  const requests: readonly [string, string][] = [
    ...(['GET', 'PUT', 'DELETE'] as const).flatMap((method): [string, string][] => [
      [method, 'task/nobody'],
      [method, 'task_group/nobody'],
    ]),
    ...['reset', 'retry', 'pluck'].map((verb): [string, string] => ['POST', `task/nobody/${verb}`]),
    ...['tasks', 'reset', 'retry', 'pause', 'resume'].map((verb): [string, string] => ['POST', `task_group/nobody/${verb}`]),
    ['GET', 'task_group/nobody/tasks'],
    ['GET', 'operator/nobody'],
    ['PUT', 'operator/nobody'],
  ];
  for (const [method, path] of requests)
    t.match(await send(method, path, method === 'GET' || method === 'DELETE' ? undefined : {}), malformed, `${method} ${path}`);
  await acquire();
  for (const children of ['abc', [5], [{ channel: 'x', _child_id: 1, _parent_ids: [9] }]]) {
    const answer = await release(made._id, { output: 1, children });
    t.match(answer, { status: 500, body: { message: String } });
    t.notMatch(answer.body.message, /internal|not meant to happen/i);
  }
  t.match(await send('GET', `task/${made._id}`), { body: { assignedTo: 'w1', isComplete: false } }, 'and the task is still its worker’s');
});

t.test('operators that two Masters change at the same time are all kept', async (t) => {
  const { ledger, get } = await openCrew(t);
  const masters = [new Operators(ledger), new Operators(ledger)];
  const made = (_id: string) => ({ _id, channel: 'c', url: 'http://127.0.0.1:9/', requestConfig: null, isPaused: true, createdAt: '' });
  const ids = ['a', 'b', 'c', 'd'];
  await Promise.all(ids.flatMap((id) => masters.map((master, at) => master.change((list) => list.push(made(`${id}${at}`))))));
  const kept: readonly { readonly _id: string }[] = await get('operators');
  t.same(kept.map(({ _id }) => _id).sort(), ['a0', 'a1', 'b0', 'b1', 'c0', 'c1', 'd0', 'd1']);
});

t.test('a retry of a group gets beyond failed tasks that somebody else has retried', async (t) => {
  const { ledger, service, group, post } = await openCrew(t);
  const id = await group();
  const now = service.clock.now();
  await ledger.add(
    Array.from({ length: 501 }, (_, n) => ({ id: `job-${n}`, channel: 'c', group: id, data: null, attempts: 1 })),
    now,
  );
  const worker = { id: 'w', name: 'w' };
  const runs = await ledger.claim({ worker, channels: ['c'], labels: [], limit: 501, until: now + 30_000 }, now);
  t.equal(runs.length, 501);
  await ledger.settle(
    worker,
    runs.map((run) => failed(run)),
    now,
  );
  const { retry } = ledger;
  let calls = 0;
  ledger.retry = async (ids, at) => {
    calls += 1;
    if (calls === 1) await retry.call(ledger, ids, at);
    return retry.call(ledger, ids, at);
  };
  await post(`task_group/${id}/retry`, { remainingAttempts: 3 });
  t.same((await ledger.list({ group: id, state: 'failed' }, { limit: 10 }, now)).jobs, []);
  t.match(await ledger.get('job-0'), { state: 'ready' });
});
