import t from 'tap';
import { openCrew } from './client.js';

/** Known defects of crew 1.0.25, each with the behaviour here. */

t.test('crew 1: the task of a worker that died was lost for ever', async (t) => {
  const { group, task, acquire, get } = await openCrew(t, { crew: { abandonedSeconds: 1 } });
  const made = await task(await group());
  await acquire('dead');
  let again = await acquire('alive');
  while (again.task === null) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    again = await acquire('alive');
  }
  t.match(again.task, { _id: made._id, assignedTo: 'alive', remainingAttempts: 4 });
  t.equal((await get(`task/${made._id}`)).errors.length, 1);
});

t.test('crew 2: a failure of a task with a key was charged twice', async (t) => {
  const { group, task, acquire, release, get } = await openCrew(t);
  const id = await group();
  const one = await task(id, { key: 'k' });
  const two = await task(id, { key: 'k' });
  await acquire();
  await release(one._id, { error: 'e' });
  for (const { _id } of [one, two]) t.match(await get(`task/${_id}`), { remainingAttempts: 4, errors: ['e'] });
});

t.test('crew 3: a release slept up to a second, and the last parents missed each other', async (t) => {
  const { group, task, acquire, release, get } = await openCrew(t);
  const id = await group();
  for (let round = 0; round < 10; round += 1) {
    const one = await task(id);
    const two = await task(id);
    const child = await task(id, { channel: 'later', parentIds: [one._id, two._id] });
    await Promise.all([acquire('w1'), acquire('w1')]);
    await Promise.all([release(one._id, { output: 1 }), release(two._id, { output: 2 })]);
    t.match(await get(`task/${child._id}`), { parentsComplete: true });
    t.match(await acquire('w1', 'later'), {
      task: { _id: child._id },
      parents: [{ _id: one._id, channel: 'c', input: null, output: 1 }, { output: 2 }],
    });
  }
});

t.test('crew 4: children before their parents were dropped, and a failed release deleted older children', async (t) => {
  const { group, task, acquire, release, get } = await openCrew(t);
  const id = await group();
  const made = await task(id);
  const older = await task(id, { parentIds: [made._id] });
  await acquire();
  const circle = [
    { channel: 'x', _child_id: 1, _parent_ids: [2] },
    { channel: 'x', _child_id: 2, _parent_ids: ['1'] },
  ];
  t.match(await release(made._id, { children: circle }), { status: 500, body: { message: /cycle/ } });
  t.match(await get(`task/${made._id}`), { assignedTo: 'w1', isComplete: false }, 'and it is still its worker’s');
  t.match(await get(`task/${older._id}`), { _id: older._id });
  const children = [
    { channel: 'x', name: 'second', _child_id: 'b', _parent_ids: ['a'] },
    { channel: 'x', name: 'first', _child_id: 'a' },
    { channel: 'x', name: 'root', _parent_ids: [] },
  ];
  t.match(await release(made._id, { children }), { status: 200 });
  const tasks = await get('channel/x/tasks');
  t.same(tasks.map(({ name }: { name: string }) => name).sort(), ['first', 'root', 'second']);
  t.match(
    tasks.find(({ name }: { name: string }) => name === 'first'),
    { parentIds: [made._id], parentsComplete: true, taskGroupId: id },
  );
});

t.test('crew 5: a workgroup delay pulled later work forward, and did not hold what came after', async (t) => {
  const { group, task, acquire, release, get } = await openCrew(t);
  const id = await group();
  const runAfter = new Date(Date.now() + 86_400_000).toISOString();
  const made = await task(id, { workgroup: 'w' });
  const tomorrow = await task(id, { workgroup: 'w', runAfter });
  await acquire();
  await release(made._id, { output: 1, workgroupDelayInSeconds: 35 });
  t.match(await get(`task/${tomorrow._id}`), { runAfter });
  await task(id, { workgroup: 'w' });
  t.strictSame(await acquire(), { task: null });
  const free = await task(id);
  t.match(await acquire(), { task: { _id: free._id } });
});

t.test('crew 6: a later twin took the task away from its worker, and children of twins waited for a cron', async (t) => {
  const { group, task, acquire, release, get } = await openCrew(t);
  const id = await group();
  const one = await task(id, { key: 'k' });
  await acquire('w1');
  const two = await task(await group(), { key: 'k' });
  const child = await task(two.taskGroupId, { channel: 'later', parentIds: [two._id] });
  t.strictSame(await acquire('w2'), { task: null });
  t.match(await release(one._id, { output: 'same' }), { status: 200 });
  t.match(await get(`task/${two._id}`), { isComplete: true, output: 'same' });
  t.match(await acquire('w2', 'later'), { task: { _id: child._id } });
});

t.test('crew 7: descendants of a failed task: blocked as in crew, and seen to be so', async (t) => {
  const { group, task, acquire, release, get, ledger } = await openCrew(t);
  const id = await group();
  const made = await task(id, { remainingAttempts: 1 });
  const child = await task(id, { parentIds: [made._id] });
  await acquire();
  await release(made._id, { error: 'e' });
  t.match(await get(`task/${child._id}`), { parentsComplete: false, isComplete: false, remainingAttempts: 5 });
  t.match(await ledger.get(child._id), { state: 'blocked', parentFailure: 'wait' });
});

t.test('crew 8: what is not allowed is refused, and bad input does not end the process', async (t) => {
  const { url } = await openCrew(t, { tokens: ['work:a-work-token', 'read:a-read-token'] });
  const ask = (method: string, token?: string) =>
    fetch(`${url}/crew/api/v1/task_groups`, { method, headers: token === undefined ? {} : { authorization: `Bearer ${token}` } });
  t.equal((await ask('GET')).status, 401);
  t.equal((await ask('POST', 'a-read-token')).status, 403);
  t.equal((await ask('POST', 'a-work-token')).status, 200);
  const open = await openCrew(t);
  const id = await open.group();
  const far = await open.task(id, { runAfter: Date.now() + 90 * 86_400_000 });
  t.ok(Date.parse(far.runAfter) > Date.now() + 80 * 86_400_000, 'a number, and more than a timer can wait');
  t.match(await open.task(id, { runAfter: 'nonsense' }), { message: /^runAfter: / });
  await open.send('DELETE', `task_group/${id}`);
  t.match(await open.get('task_groups/count'), { count: 0 });
});

t.test('crew 10: two releases of one worker id could not be told apart', async (t) => {
  const { group, task, acquire, release, get, ask } = await openCrew(t);
  const made = await task(await group(), { errorDelayInSeconds: 0 });
  await acquire('same');
  await release(made._id, { error: 'first' }, 'same');
  await acquire('same');
  t.match(
    await ask('POST', '/v1/leases/settle', {
      worker: { name: 'x' },
      results: [{ id: made._id, lease: 1, outcome: { state: 'completed', output: 1 } }],
    }),
    { body: { answers: ['stale'] } },
  );
  t.match(await get(`task/${made._id}`), { assignedTo: 'same', remainingAttempts: 4 });
});
