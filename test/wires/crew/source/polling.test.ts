import t, { type Test } from 'tap';
import { type CrewSourceOptions, crewSource } from '../../../../src/index.js';
import type { Outcome } from '../../../../src/job/job.js';
import { CrewServer } from '../../../lab/crew-server.js';
import { aborted, echoTask, openSource, temporaryFolder } from '../../../lab/open-source.js';
import { until } from '../../../lab/until.js';

const never = new AbortController().signal;
const completed = (output: unknown, more: object = {}) => ({ state: 'completed', output, ...more }) as Outcome;
const failed = (message: string, more: object = {}): Outcome => ({
  state: 'failed',
  error: { code: 'task-threw', message },
  retry: true,
  ...more,
});
const released: Outcome = { state: 'released', reason: 'the worker stops' };

async function openServer(t: Test) {
  const server = new CrewServer();
  await server.start();
  t.teardown(() => server.stop());
  const open = (options: Partial<CrewSourceOptions> = {}, folder?: string) =>
    openSource(t, crewSource({ url: server.url, tasks: { c: echoTask(t) }, watchMs: 50, ...options }), folder);
  return { server, open };
}

t.test('tasks are acquired and released, with what their parents gave', async (t) => {
  const { server, open } = await openServer(t);
  const parent = server.add('p', { isComplete: true, output: { sum: 3 }, input: 'in' });
  const first = server.add('c', { input: { n: 1 }, parentIds: [parent._id], errors: ['once'] });
  const second = server.add('c');
  const { source, take, unsent } = await open({ authorization: 'Bearer much too secret' });
  const lease = await take();
  t.match(lease.job, {
    ...{ id: first._id, channel: 'c', data: { n: 1 }, attempt: 2 },
    parents: [{ id: parent._id, channel: 'p', data: 'in', output: { sum: 3 } }],
  });
  server.parentsInside = true;
  const empty = await take();
  t.match(empty.job, { id: second._id, data: null, attempt: 1 });
  t.equal(empty.job.parents, undefined);
  await lease.settle(completed({ ok: true }));
  await empty.settle(failed('no', { holdMs: 1_500 }));
  await source.flush(never);
  t.equal(unsent(), 0);
  t.match(server.tasks.get(first._id), { isComplete: true, output: { ok: true } });
  t.match(server.tasks.get(second._id), { isComplete: false, errors: ['no'], remainingAttempts: 4 });
  const release = server.requests.find(({ path }) => path.includes(`${second._id}/release`));
  t.match(release?.body, { workerId: /^peerwork-/, error: 'no', workgroupDelayInSeconds: 2 });
  t.ok(server.requests.every(({ headers }) => headers.authorization === 'Bearer much too secret'));
});

t.test('parents inside the task are seen as well', async (t) => {
  const { server, open } = await openServer(t);
  server.parentsInside = true;
  const parent = server.add('p', { isComplete: true, output: 7 });
  server.add('c', { parentIds: [parent._id] });
  const { take } = await open();
  t.match((await take()).job.parents, [{ id: parent._id, output: 7 }]);
});

t.test('children go out with their parents first, whatever their order, and in words that the real server survives', async (t) => {
  const { server, open } = await openServer(t);
  const task = server.add('c');
  const { source, take } = await open();
  const children = [
    { ref: 'end', parents: ['left', 'right'], data: 'end', channel: 'c', delayMs: 5_000 },
    { ref: 'left', parents: ['begin'], data: 1, channel: 'c', weight: 3, key: 'k', backoffMs: 1 },
    { ref: 'right', parents: ['begin'], data: 2, channel: 'c' },
    { ref: 'begin', data: 'begin', channel: 'c', attempts: 2, priority: 7, workgroup: 'w', seed: true, name: 'Begin' },
    { ref: 'alone', parents: [], data: null },
  ];
  await (await take()).settle(completed('parent', { children, childrenDelayMs: 20 }));
  await source.flush(never);
  const sent = server.requests.find(({ path }) => path.endsWith('/release'))?.body as {
    children: Record<string, unknown>[];
    childrenDelayInSeconds: number;
  };
  t.same(
    sent.children.map(({ _child_id }) => _child_id),
    ['begin', 'alone', 'left', 'right', 'end'],
  );
  t.equal(sent.childrenDelayInSeconds, 1);
  t.match(sent.children[0], { name: 'Begin', remainingAttempts: 2, priority: 7, workgroup: 'w', isSeed: true });
  t.notOk('_parent_ids' in (sent.children[0] ?? {}), 'a child of the task itself');
  t.match(sent.children[1], { channel: 'default', _parent_ids: [] });
  t.match(sent.children[2], { errorDelayInSeconds: 1, progressWeight: 3, key: 'k' });
  t.equal(typeof sent.children[4]?.['runAfter'], 'string');
  t.equal(server.tasks.size, 6, 'none is lost');
  t.same([...server.tasks.values()].find(({ name }) => name === 'Begin')?.parentIds, [task._id]);
});

t.test('children in a circle, or of nobody, fail the task instead of getting lost', async (t) => {
  const { server, open } = await openServer(t);
  const tasks = Array.from({ length: 3 }, () => server.add('c', { errorDelayInSeconds: 30 }));
  const { source, take } = await open();
  const wrong = [
    [
      { ref: 'a', parents: ['b'], data: 1 },
      { ref: 'b', parents: ['a'], data: 1 },
    ],
    [{ parents: ['nobody'], data: 1 }],
    [
      { ref: 'a', data: 1 },
      { ref: 'a', data: 2 },
    ],
  ];
  for (const children of wrong) await (await take()).settle(completed(1, { children }));
  await source.flush(never);
  for (const { errors } of tasks) t.match(errors, [/children cannot be created/]);
});

t.test('what was not run goes back as it was, or costs an attempt if it has errors to lose', async (t) => {
  const { server, open } = await openServer(t);
  const [fresh, tried] = [server.add('c', { remainingAttempts: 3 }), server.add('c', { remainingAttempts: 3, errors: ['before'] })];
  const { source, take } = await open();
  for (const lease of [await take(), await take()]) await lease.settle(released);
  await source.flush(never);
  t.match(server.tasks.get(fresh._id), { assignedTo: null, remainingAttempts: 3, errors: [] });
  t.match(server.tasks.get(tried._id), { assignedTo: null, remainingAttempts: 2, errors: ['before', /Given back/] });
});

t.test('a task that was reset, given to another or deleted is stopped, and its outcome dropped', async (t) => {
  const { server, open } = await openServer(t);
  const [reset, deleted, stolen] = [server.add('c'), server.add('c'), server.add('c')];
  const { source, take, lines } = await open();
  const leases = [await take(), await take(), await take()];
  server.add('c');
  reset.assignedTo = null;
  reset.runAfter = '2999-01-01T00:00:00.000Z';
  server.tasks.delete(deleted._id);
  stolen.assignedTo = 'another';
  await Promise.all(leases.map(({ signal }) => aborted(signal)));
  for (const lease of leases) await lease.settle(completed('late'));
  await source.flush(never);
  t.notOk(server.requests.some(({ path }) => path.endsWith('/release')));
  t.match(lines.join('\n'), /taken away while it ran/);
});

t.test('a release that comes too late is dropped, and not sent again', async (t) => {
  const { server, open } = await openServer(t);
  const task = server.add('c');
  const { source, take, unsent } = await open({ watchMs: 3_600_000 });
  const lease = await take();
  task.assignedTo = 'another';
  await lease.settle(completed('late'));
  await source.flush(never);
  t.equal(unsent(), 0);
  t.equal(server.requests.filter(({ path }) => path.endsWith('/release')).length, 1);
});

t.test('a task that comes again while it runs was reset: the old run ends, the new one counts', async (t) => {
  const { server, open } = await openServer(t);
  const task = server.add('c');
  const { source, take } = await open({ watchMs: 3_600_000 });
  const old = await take();
  task.assignedTo = null;
  const again = await take();
  t.equal(again.job.id, old.job.id);
  t.ok(old.signal.aborted);
  await old.settle(completed('old'));
  await again.settle(completed('new'));
  await source.flush(never);
  t.equal(task['output'], 'new');
});

t.test('the server killed and back in the middle of a job: its outcome arrives, and the work goes on', async (t) => {
  const { server, open } = await openServer(t);
  const task = server.add('c');
  const { source, take, warnings, unsent } = await open();
  const lease = await take();
  await server.stop();
  await lease.settle(completed('kept'));
  await until(() => warnings.some(({ code }) => code === 'crew-unreachable'));
  t.equal(unsent(), 1);
  await server.start();
  await source.flush(never);
  t.equal(task['output'], 'kept');
  server.add('c', { input: 'next' });
  t.equal((await take()).job.data, 'next');
});

t.test('outcomes that could not be delivered are delivered by the next process, under the name that acquired the task', async (t) => {
  const { server, open } = await openServer(t);
  const task = server.add('c');
  const folder = temporaryFolder(t);
  const before = await open({}, folder);
  const lease = await before.take();
  await server.stop();
  await lease.settle(completed('kept on disk'));
  await before.close();
  await server.start();
  const after = await open({}, folder);
  await after.source.flush(never);
  t.equal(task['output'], 'kept on disk');
});

t.test('a server that fails now and then, slowly, with pages instead of JSON: everything arrives, once', async (t) => {
  const { server, open } = await openServer(t);
  const tasks = Array.from({ length: 4 }, () => server.add('c'));
  let turn = 0;
  server.misbehave = ({ path }, response) => {
    turn += 1;
    if (turn % 2 === 0) return undefined;
    if (turn % 4 === 1 && path.endsWith('/release')) return response.writeHead(500, { 'content-type': 'text/html' }).end('<h1>No</h1>');
    if (turn % 4 === 1) return response.writeHead(404).end('<pre>Cannot POST</pre>');
    return response.destroy();
  };
  const { source, take } = await open();
  for (const _ of tasks) await (await take()).settle(completed('ok'));
  server.misbehave = undefined;
  await source.flush(never);
  t.ok(tasks.every(({ isComplete, errors }) => isComplete && errors.length === 0));
});

t.test('an answer that got lost: the release is repeated, and the server does not mind', async (t) => {
  const { server, open } = await openServer(t);
  const task = server.add('c');
  const { source, take } = await open();
  const lease = await take();
  let lost = 0;
  server.misbehave = ({ path, body }, response) => {
    if (!path.endsWith('/release') || lost > 0) return undefined;
    lost += 1;
    Object.assign(task, { isComplete: true, output: body['output'], assignedTo: null });
    return response.destroy();
  };
  await lease.settle(completed('heard'));
  await source.flush(never);
  t.equal(lost, 1);
  t.equal(task['output'], 'heard');
});

t.test('a task whose acquire was never answered does not stay assigned to us for ever', async (t) => {
  const { server, open } = await openServer(t);
  const task = server.add('c', { remainingAttempts: 2 });
  let lost = 0;
  server.misbehave = ({ path, body }, response) => {
    if (!path.endsWith('/acquire') || lost > 0) return undefined;
    lost += 1;
    task.assignedTo = String(body['workerId']);
    return response.destroy();
  };
  const { take } = await open();
  const held = await take();
  t.match(held.job, { id: task._id, attempt: 1 });
  t.equal(task.remainingAttempts, 2);
  t.equal(lost, 1);
});

t.test('an outcome that the server cannot take in becomes an error of the task', async (t) => {
  const { server, open } = await openServer(t);
  const task = server.add('c');
  const { source, take } = await open();
  const lease = await take();
  server.misbehave = ({ body }, response) => ('output' in body ? response.writeHead(413).end('<h1>Too large</h1>') : undefined);
  await lease.settle(completed('x'.repeat(1_000)));
  await source.flush(never);
  t.match(task.errors, [/refused the outcome/]);
});

t.test('a redirect takes the authorization nowhere', async (t) => {
  const { server, open } = await openServer(t);
  const other = new CrewServer();
  await other.start();
  t.teardown(() => other.stop());
  server.misbehave = (_, response) => response.writeHead(307, { location: `${other.url}api/v1/channel/c/acquire` }).end();
  const { source, warnings } = await open({ authorization: 'Bearer much too secret' });
  t.same(await source.claim(1, AbortSignal.timeout(300)), []);
  t.same(other.requests, []);
  t.match(warnings, [{ code: 'crew-refused' }]);
});

t.test('a claim that is withdrawn while the server thinks gives its task back', async (t) => {
  const { server, open } = await openServer(t);
  const task = server.add('c');
  let answer: (() => void) | undefined;
  server.misbehave = ({ path, body }, response) => {
    if (!path.endsWith('/acquire') || answer !== undefined) return undefined;
    task.assignedTo = String(body['workerId']);
    answer = () => void response.writeHead(200).end(JSON.stringify({ task, parents: [] }));
    return true;
  };
  const { source } = await open();
  const withdraw = new AbortController();
  const claim = source.claim(1, withdraw.signal);
  await until(() => answer !== undefined);
  withdraw.abort();
  t.same(await claim, []);
  answer?.();
  await until(() => task.assignedTo === null);
  t.equal(task.remainingAttempts, 5);
});

t.test('what is set up wrongly is refused when it is made', async (t) => {
  const tasks = { c: echoTask(t) };
  const wrong = [
    { tasks: {}, url: 'http://x/' },
    { tasks },
    { tasks, url: 'ftp://x' },
    { tasks, url: 'no' },
    { tasks, url: 'http://a:50%@x/' },
  ];
  for (const options of wrong) t.throws(() => crewSource(options), { code: 'option-invalid' }, JSON.stringify(options));
});
