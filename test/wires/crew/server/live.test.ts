import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { io } from 'socket.io-client';
import t, { type Test } from 'tap';
import { until } from '../../../lab/until.js';
import { type Any, openCrew } from './client.js';

t.test('who watches a group hears what happens to its tasks, in crew’s events', async (t) => {
  const { url, group, task, acquire, release, post, send } = await openCrew(t);
  const id = await group();
  const other = await group();
  const socket = io(url, { transports: ['websocket'] });
  t.teardown(() => socket.close());
  const events: [string, Any][] = [];
  socket.onAny((event: string, payload: unknown) => events.push([event, payload]));
  await new Promise<void>((resolve) => socket.on('connect', () => resolve()));
  socket.emit('watchTaskGroup', { taskGroupId: id });
  socket.emit('watchTaskGroup', { taskGroupId: 'operators' });
  await new Promise((resolve) => setTimeout(resolve, 100));
  const untilHeard = async (check: (event: string, payload: Any) => boolean) => {
    await until(() => events.some(([event, payload]) => check(event, payload)));
  };
  const made = await task(id, { key: 'k', workgroup: 'w' });
  await task(other);
  await untilHeard((event, payload) => event === 'task:create' && payload._id === made._id);
  await acquire();
  await untilHeard((event, { update } = {}) => event === 'task:acquire:key' && update?.assignedTo === 'w1');
  await untilHeard((event, payload) => event === 'task:update' && payload?.assignedTo === 'w1');
  await release(made._id, { output: 5, workgroupDelayInSeconds: 9, children: [{ channel: 'x' }] });
  await untilHeard((event, payload) => event === 'task:update' && payload?.isComplete === true);
  await untilHeard((event, payload) => event === 'task:release:key' && payload.update.output === 5);
  await untilHeard((event, payload) => event === 'workgroup:delay' && payload.workgroup === 'w');
  await untilHeard((event, payload) => event === 'task:create' && payload.channel === 'x');
  await post(`task_group/${id}/pause`);
  await untilHeard((event, payload) => event === 'group:syncPause' && payload.isPaused === true);
  await post(`task_group/${id}/reset`);
  await untilHeard((event) => event === 'group:reset');
  await send('DELETE', `task/${made._id}`);
  await untilHeard((event, payload) => event === 'task:delete' && payload._id === made._id);
  await post('operators', { channel: 'none', url: 'http://127.0.0.1:9/x', isPaused: true });
  await untilHeard((event) => event === 'operator:create');
  t.ok(
    events.every(([, payload]) => payload?.taskGroupId !== other),
    'and of other groups nothing',
  );
});

async function operatorServer(
  t: Test,
  answer: (body: Any, request: IncomingMessage) => { readonly status?: number; readonly body?: unknown },
) {
  const calls: { readonly body: Any; readonly url: string | undefined; readonly headers: Any }[] = [];
  const server = createServer((request, response) => {
    let text = '';
    request.on('data', (chunk) => {
      text += chunk;
    });
    request.on('end', () => {
      const body = JSON.parse(text);
      calls.push({ body, url: request.url, headers: request.headers });
      const { status = 200, body: reply } = answer(body, request);
      response.writeHead(status, { 'content-type': 'application/json' }).end(reply === undefined ? '' : JSON.stringify(reply));
    });
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  return { calls, base: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

const ended = async (get: (path: string) => Promise<Any>, id: string, check: (task: Any) => boolean) => {
  for (;;) {
    const task = await get(`task/${id}`);
    if (check(task)) return task;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
};

t.test('operators are called for the tasks of their channels', async (t) => {
  const { get, post, group, task, send } = await openCrew(t);
  const { calls, base } = await operatorServer(t, ({ input }) =>
    input.fail
      ? { status: 404 }
      : input.withMessage
        ? { status: 500, body: { error: 'no luck' } }
        : { body: { output: input.n * 2, children: input.n === 1 ? [{ channel: 'c', input: { n: 5 } }] : [] } },
  );
  const operator = await post('operators', {
    channel: 'c',
    url: `${base}/do`,
    requestConfig: { headers: { 'X-Key': 'secret' }, params: { q: 1 } },
  });
  t.match(operator, { channel: 'c', isPaused: null });
  const id = await group();
  const made = await task(id, { input: { n: 1 } });
  t.match(await ended(get, made._id, ({ isComplete }) => isComplete), { output: 2 });
  t.match(calls[0], { url: '/do?q=1', headers: { 'x-key': 'secret' }, body: { input: { n: 1 }, parents: [], taskId: made._id } });
  const failing = await task(id, { input: { fail: true }, remainingAttempts: 1 });
  t.match(await ended(get, failing._id, ({ errors }) => errors.length > 0), {
    errors: ['Request failed with status code 404'],
    remainingAttempts: 0,
  });
  const withMessage = await task(id, { input: { withMessage: true }, remainingAttempts: 1 });
  t.match(await ended(get, withMessage._id, ({ errors }) => errors.length > 0), { errors: ['no luck'] });
  await until(async () => (await get('channels'))[0].completedCount >= 2);
  t.match(calls.find(({ body }) => body.input.n === 5)?.body.parents, [{ _id: made._id, output: 2 }]);
  t.match((await send('PUT', `operator/${operator._id}`, { isPaused: true })).body, { isPaused: true, url: `${base}/do` });
  t.match(await get('operators/count'), { count: 1 });
  t.match((await send('DELETE', `operator/${operator._id}`)).body, { deletedCount: 1 });
  t.match(await send('GET', `operator/${operator._id}`), { status: 404 });
  t.match(await send('POST', 'operators', { channel: 'c', url: 'file:///etc/passwd' }), { status: 500 });
});

t.test('a virtual operator serves every channel, with its token', async (t) => {
  const server = await operatorServer(t, () => ({}));
  const { get, group, task } = await openCrew(t, {
    crew: { virtualOperatorUrl: `${server.base}/execute/`, virtualOperatorToken: 'operator-token' },
  });
  const made = await task(await group(), { channel: 'any thing', input: {} });
  t.match(await ended(get, made._id, ({ isComplete }) => isComplete), { output: null });
  t.match(server.calls[0], { url: '/execute/any%20thing', headers: { authorization: 'Bearer operator-token' } });
});
