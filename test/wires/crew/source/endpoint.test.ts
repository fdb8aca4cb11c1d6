import t, { type Test } from 'tap';
import { type CrewEndpointOptions, crewSource } from '../../../../src/index.js';
import { freePort } from '../../../lab/free-port.js';
import { aborted, echoTask, openSource } from '../../../lab/open-source.js';
import { until } from '../../../lab/until.js';
import { openCrew } from '../server/client.js';

const json = { 'content-type': 'application/json' };

async function openEndpoint(t: Test, options: Partial<CrewEndpointOptions> = {}) {
  const port = await freePort();
  const opened = await openSource(t, crewSource({ tasks: { c: echoTask(t), 'with space': echoTask(t) }, endpoint: { port, ...options } }));
  const url = `http://127.0.0.1:${port}`;
  const send = (path: string, body: unknown, init: RequestInit = {}) =>
    fetch(`${url}${path}`, { method: 'POST', headers: json, body: typeof body === 'string' ? body : JSON.stringify(body), ...init });
  return { ...opened, url, port, send };
}

t.test('a call of an operator is a job, and its outcome the answer', async (t) => {
  const { send, take } = await openEndpoint(t);
  const parents = [{ _id: 'p', channel: 'c', input: 1, output: 2 }];
  const call = send('/execute/c', { input: { n: 1 }, parents, taskId: 'abc' });
  const lease = await take();
  t.match(lease.job, { id: 'abc', channel: 'c', data: { n: 1 }, parents: [{ id: 'p', data: 1, output: 2 }] });
  await lease.settle({ state: 'completed', output: 'done', children: [{ data: 1, channel: 'c' }], holdMs: 90_000 });
  const answer = await call;
  t.equal(answer.status, 200);
  t.match(await answer.json(), { output: 'done', children: [{ input: 1, channel: 'c' }], workgroupDelayInSeconds: 90 });

  const failing = send('/execute/with%20space', { taskId: 'd' });
  await (await take()).settle({ state: 'failed', error: { code: 'task-threw', message: 'no' }, retry: true, holdMs: 1 });
  const failure = await failing;
  t.equal(failure.status, 200, 'as of crew’s own HttpWorker: else the delay would not be read');
  t.same(await failure.json(), { error: 'no', workgroupDelayInSeconds: 1 });
});

t.test('an operator of our own Master sends its tasks here', async (t) => {
  const { take, url } = await openEndpoint(t, { token: 'operators only' });
  const master = await openCrew(t, { crew: { virtualOperatorUrl: `${url}/execute/`, virtualOperatorToken: 'operators only' } });
  const task = await master.task(await master.group(), { input: { n: 2 } });
  const lease = await take();
  t.match(lease.job, { id: task._id, data: { n: 2 } });
  await lease.settle({ state: 'completed', output: { twice: 4 } });
  await until(async () => (await master.get(`task/${task._id}`)).isComplete);
  t.same((await master.get(`task/${task._id}`)).output, { twice: 4 });
});

t.test('the token may be shown in three ways, and must be', async (t) => {
  const { send, source } = await openEndpoint(t, { token: 'open sesame' });
  const right = [
    send('/execute/c?accessToken=open%20sesame', {}),
    send('/execute/c', { accessToken: 'open sesame' }),
    send('/execute/c', {}, { headers: { ...json, authorization: 'Bearer open sesame' } }),
  ];
  for (let left = right.length; left > 0; )
    for (const lease of await source.claim(3, AbortSignal.timeout(10_000))) {
      left -= 1;
      await lease.settle({ state: 'completed', output: 1 });
    }
  t.same(
    (await Promise.all(right)).map(({ status }) => status),
    [200, 200, 200],
  );
  const wrong = [
    send('/execute/c', {}),
    send('/execute/c?accessToken=open', { accessToken: 'open sesame' }),
    send('/execute/c', { accessToken: ['open sesame'] }),
    send('/execute/c', {}, { headers: { ...json, authorization: 'open sesame' } }),
    send('/execute/c', 'x'.repeat(100_000)),
  ];
  t.same(
    (await Promise.all(wrong)).map(({ status }) => status),
    [401, 401, 401, 401, 413],
  );
});

t.test('without a token only this machine is served, and no page in its browser', async (t) => {
  const tasks = { c: echoTask(t) };
  t.throws(() => crewSource({ tasks, endpoint: { port: 0, host: '0.0.0.0' } }), { code: 'option-invalid' });
  t.throws(() => crewSource({ tasks, endpoint: { port: 0, token: '' } }), { code: 'option-invalid' });
  const { send, url, port } = await openEndpoint(t);
  t.equal((await send('/execute/c', '{}', { headers: { 'content-type': 'text/plain' } })).status, 415);
  // fetch does not allow setting Host.
  const { request } = await import('node:http');
  const status = await new Promise<number | undefined>((resolve, reject) => {
    const options = { port, host: '127.0.0.1', path: '/execute/c', method: 'POST', headers: { ...json, host: `evil.example:${port}` } };
    request(options, (response) => resolve(response.resume().statusCode))
      .on('error', reject)
      .end('{}');
  });
  t.equal(status, 403);
  t.equal((await fetch(`${url}/healthcheck`)).status, 200);
  t.same(await (await fetch(`${url}/readycheck`)).json(), { ready: true });
});

t.test('what is malformed is refused at once, and more than can be held', async (t) => {
  const { send, url, source } = await openEndpoint(t);
  const cases: [string, unknown, number][] = [
    ['/execute/c', 'no json', 400],
    ['/execute/c', '[]', 400],
    ['/execute/c', { taskId: 7 }, 400],
    ['/execute/c', { taskId: 'a\u0000b' }, 400],
    ['/execute/unknown', {}, 404],
    ['/execute/%zz', {}, 400],
    ['/execute/', {}, 404],
    ['/api/v1/tasks', {}, 404],
    ['/execute/c', `"${'x'.repeat(10 * 1024 * 1024)}"`, 413],
  ];
  for (const [path, body, status] of cases)
    t.equal((await send(path, body)).status, status, `${path} ${JSON.stringify(body).slice(0, 40)}`);
  t.equal((await fetch(`${url}/execute/c`, { method: 'PUT' })).status, 404);
  const calls = Array.from({ length: 30 }, () => send('/execute/c', {}));
  const statuses = new Set<number>();
  for (const call of calls) void call.then(({ status }) => statuses.add(status));
  await until(() => statuses.has(503));
  let answered = 0;
  const done = new AbortController();
  void Promise.all(calls).then(() => done.abort());
  while (!done.signal.aborted)
    for (const lease of await source.claim(4, done.signal)) {
      answered += 1;
      await lease.settle({ state: 'completed', output: 1 });
    }
  t.ok(answered >= 16);
  t.same((await Promise.all(calls)).filter(({ status }) => status === 200).length, answered);
});

t.test('who hangs up wants it no more; what was not run is answered when the worker stops', async (t) => {
  const { send, take, close, source } = await openEndpoint(t);
  const impatient = new AbortController();
  const call = send('/execute/c', {}, { signal: impatient.signal }).catch(() => {});
  const lease = await take();
  impatient.abort();
  await call;
  await aborted(lease.signal);
  await lease.settle({ state: 'completed', output: 'nobody hears' });
  const waiting = send('/execute/c', {});
  const running = send('/execute/c', {});
  const held = await take();
  await held.settle({ state: 'released', reason: 'the worker stops' });
  t.equal((await Promise.race([waiting, running])).status, 503);
  await close();
  t.same([(await waiting).status, (await running).status], [503, 503]);
  t.same(await source.claim(1, new AbortController().signal), []);
});

t.test('a port that is taken is told', async (t) => {
  const { port } = await openEndpoint(t);
  await t.rejects(openSource(t, crewSource({ tasks: { c: echoTask(t) }, endpoint: { port } })), { code: 'address-unusable' });
});
