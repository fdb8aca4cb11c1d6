import t from 'tap';
import { isLongerList } from '../../../src/master/http/jobs.js';
import { HttpServer } from '../../../src/master/http/server.js';
import { openApi, openJobService } from '../../lab/job-service.js';

const worker = { name: 'py' };

t.test('acquire, extend, report, settle: the leases and fences of every Worker', async (t) => {
  const { ask, ledger } = await openApi(t);
  await ask('POST', '/v1/jobs', [
    { id: 'a', data: { x: 1 } },
    { id: 'b', data: 2, parents: ['a'], requires: ['gpu'] },
  ]);
  const first = await ask('POST', '/v1/leases', { worker, channels: ['default'], limit: 5, leaseMs: 9_000 });
  t.match(first, {
    status: 200,
    body: { worker: { id: 'http:py' }, leaseMs: 9_000, beatMs: 3_000, jobs: [{ id: 'a', lease: 1, data: { x: 1 }, attempt: 1 }] },
  });
  t.match(
    await ask('POST', '/v1/leases/extend', {
      worker,
      leases: [
        { id: 'a', lease: 1 },
        { id: 'b', lease: 1 },
      ],
    }),
    { body: { lost: [{ id: 'b', lease: 1 }] } },
  );
  t.match(
    await ask('POST', '/v1/leases/report', { worker, reports: [{ id: 'a', lease: 1, progress: { kind: 'progress', value: 0.5 } }] }),
    { status: 204 },
  );
  const results = [{ id: 'a', lease: 1, outcome: { state: 'completed', output: [1, 2] } }];
  t.match(await ask('POST', '/v1/leases/settle', { worker: { name: 'other' }, results }), { body: { answers: ['stale'] } });
  t.match(await ask('POST', '/v1/leases/settle', { worker, results }), { body: { answers: ['settled'] } });
  t.match(await ask('POST', '/v1/leases/settle', { worker, results }), { body: { answers: ['duplicate'] } });
  t.match(await ask('POST', '/v1/leases', { worker, channels: ['default'] }), { body: { jobs: [] } });
  t.match(await ask('POST', '/v1/leases', { worker, channels: ['default'], labels: ['gpu'] }), {
    body: { jobs: [{ id: 'b', parents: [{ id: 'a', output: [1, 2] }] }] },
  });
  const more = { state: 'completed', output: 1, children: [{ id: 'c', data: 3, ref: 'c' }], childrenDelayMs: 0, holdMs: 5 };
  t.match(await ask('POST', '/v1/leases/settle', { worker, results: [{ id: 'b', lease: 1, outcome: more }] }), {
    body: { answers: ['settled'] },
  });
  t.match(await ledger.get('c'), { state: 'ready', parents: ['b'] });
  t.match(await ask('GET', '/v1/workers'), { body: { workers: [{ id: 'http:py', name: 'py' }, { id: 'http:other' }] } });
});

t.test('who waits gets a job as soon as there is one, and nothing is lost with who has gone', async (t) => {
  const { ask, url, ledger } = await openApi(t);
  const waiting = ask('POST', '/v1/leases', { worker, channels: ['default'], waitMs: 20_000 });
  await new Promise((resolve) => setTimeout(resolve, 50));
  await ask('POST', '/v1/jobs', { id: 'a', data: 1 });
  t.match(await waiting, { body: { jobs: [{ id: 'a' }] } });
  const gone = new AbortController();
  const body = JSON.stringify({ worker, channels: ['default'], waitMs: 20_000 });
  const left = fetch(`${url}/v1/leases`, { method: 'POST', body, headers: { 'content-type': 'application/json' }, signal: gone.signal });
  left.catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, 50));
  gone.abort();
  await new Promise((resolve) => setTimeout(resolve, 50));
  await ask('POST', '/v1/jobs', { id: 'b', data: 1 });
  t.match(await ledger.get('b'), { state: 'ready' });
  t.match(await ask('POST', '/v1/leases', { worker, channels: ['default'], waitMs: 1 }), { body: { jobs: [{ id: 'b' }] } });
});

t.test('a worker that fell silent: its job goes to another, and its word counts no more', async (t) => {
  const { ask } = await openApi(t, { leaseMs: 1_000 });
  await ask('POST', '/v1/jobs', { id: 'a', data: 1 });
  t.match(await ask('POST', '/v1/leases', { worker, channels: ['default'] }), { body: { jobs: [{ id: 'a', lease: 1 }] } });
  t.match(await ask('POST', '/v1/leases', { worker: { name: 'two' }, channels: ['default'], waitMs: 10_000 }), {
    body: { jobs: [{ id: 'a', lease: 2, attempt: 2 }] },
  });
  const results = [{ id: 'a', lease: 1, outcome: { state: 'completed', output: 1 } }];
  t.match(await ask('POST', '/v1/leases/settle', { worker, results }), { body: { answers: ['stale'] } });
});

t.test('drained, revoked, resumed', async (t) => {
  const { ask } = await openApi(t);
  await ask('POST', '/v1/jobs', { id: 'a', data: 1 });
  await ask('POST', '/v1/leases', { worker, channels: ['none'] });
  t.match(await ask('POST', '/v1/workers/http:py/drain'), { body: { drainedAt: Number } });
  t.match(await ask('POST', '/v1/leases', { worker, channels: ['default'] }), { body: { jobs: [] } });
  t.match(await ask('POST', '/v1/workers/http:py/revoke'), { body: { revokedAt: Number } });
  t.match(await ask('POST', '/v1/leases', { worker, channels: ['default'] }), { status: 403, body: { code: 'worker-revoked' } });
  await ask('POST', '/v1/workers/http:py/resume');
  await ask('POST', '/v1/workers/http:py/approve');
  t.match(await ask('POST', '/v1/leases', { worker, channels: ['default'] }), { body: { jobs: [{ id: 'a' }] } });
  t.match(await ask('POST', '/v1/workers/nobody/drain'), { status: 404, body: { code: 'worker-unknown' } });
});

t.test('another token is another worker, whatever it calls itself, and each verb asks for the lease', async (t) => {
  const tokens = ['lease:first-token', 'lease:second-token', 'work:third-token', 'admin:admin-token'];
  const { ask, ledger, service } = await openApi(t, { tokens });
  const as = (token: string) => ({ authorization: `Bearer ${token}-token` });
  const verb = (token: string, path: string, body: object, who = worker) =>
    ask('POST', `/v1/leases${path}`, { worker: who, ...body }, as(token));
  await ask('POST', '/v1/jobs', [{ id: 'a', data: 1 }], as('admin'));
  const leased = await verb('first', '', { channels: ['default'] });
  t.match(leased, { status: 200, body: { worker: { id: /^http-[\w-]{16}:py$/ }, jobs: [{ id: 'a', lease: 1 }] } });
  const keys = [{ id: 'a', lease: 1 }];
  const report = { reports: [{ id: 'a', lease: 1, progress: { kind: 'log', stream: 'log', line: 'forged' } }] };
  const results = { results: [{ id: 'a', lease: 1, outcome: { state: 'completed', output: 'forged' } }] };
  const told: unknown[] = [];
  service.watch((event) => event.kind === 'progress' && told.push(event));
  const imitated = { name: leased.body.worker.id.slice('http-'.length) };
  for (const [token, who] of [
    ['second', worker],
    ['third', worker],
    ['admin', worker],
    ['first', { name: 'other' }],
    ['second', imitated],
  ] as const) {
    t.match(await verb(token, '/extend', { leases: keys, waiting: keys }, who), { body: { lost: keys } });
    t.match(await verb(token, '/report', report, who), { status: 409, body: { code: 'stale' } });
    t.match(await verb(token, '/settle', results, who), { body: { answers: ['stale'] } });
  }
  t.same(told, []);
  t.match(await ledger.get('a'), { state: 'leased' });
  t.match(await verb('first', '/report', report), { status: 204 });
  t.equal(told.length, 1);
  t.match(await verb('first', '/extend', { leases: keys }), { body: { lost: [] } });
  t.match(await ask('POST', '/v1/jobs', { data: 1 }, as('first')), { status: 403 }, 'who may lease may not push');
  t.match(await ask('POST', `/v1/workers/${leased.body.worker.id}/revoke`, undefined, as('admin')), { body: { revokedAt: Number } });
  t.match(await ledger.get('a'), { state: 'ready', attempts: { made: 0 } }, 'at once');
  for (const [path, body] of [
    ['/extend', { leases: keys }],
    ['/settle', results],
    ['', { channels: ['default'] }],
  ] as const)
    t.match(await verb('first', path, body), { status: 403, body: { code: 'worker-revoked' } });
});

t.test('the same token is the same worker at another Master of the ledger', async (t) => {
  const { service } = await openJobService(t);
  const ids = [];
  for (let at = 0; at < 2; at += 1) {
    const server = new HttpServer({ service, port: 0, tokens: ['work:some-token'] });
    const { url } = await server.start();
    t.teardown(() => server.close());
    const headers = { authorization: 'Bearer some-token', 'content-type': 'application/json' };
    const answer = await fetch(`${url}/v1/leases`, { method: 'POST', headers, body: JSON.stringify({ worker, channels: ['x'] }) });
    ids.push(((await answer.json()) as { worker: { id: string } }).worker.id);
  }
  t.match(ids[0], /^http-/);
  t.equal(ids[0], ids[1]);
});

t.test('children of a worker stay in its channel, and it holds no more than it may', async (t) => {
  const { ask, ledger } = await openApi(t);
  await ask('POST', '/v1/jobs', [{ id: 'a', data: 1, attempts: 1 }]);
  await ask('POST', '/v1/leases', { worker, channels: ['default'] });
  const outcome = { state: 'completed', output: 1, children: [{ data: 1, channel: 'other', priority: 1_000_000 }] };
  await ask('POST', '/v1/leases/settle', { worker, results: [{ id: 'a', lease: 1, outcome }] });
  t.match(await ledger.get('a'), { state: 'failed', settled: { error: { code: 'children-invalid' } } });
  await ledger.add(
    Array.from({ length: 1_500 }, () => ({ data: 1 })),
    Date.now(),
  );
  const counts = [];
  for (let at = 0; at < 3; at += 1)
    counts.push((await ask('POST', '/v1/leases', { worker, channels: ['default'], limit: 600 })).body.jobs.length);
  t.same(counts, [600, 400, 0]);
});

t.test('while a long list is pushed the health check is answered, and a longer one is refused before it is made', async (t) => {
  const { ask } = await openApi(t);
  const list = (jobs: number) => `[${Array.from({ length: jobs }, () => '{"data":1}').join(',')}]`;
  let pushed = false;
  const pushing = ask('POST', '/v1/jobs', list(20_000)).then((answer) => {
    pushed = true;
    return answer;
  });
  let answered = 0;
  while (!pushed) {
    t.match(await ask('GET', '/v1/health'), { status: 200, body: { healthy: true } });
    answered += 1;
  }
  t.ok(answered > 3, `${answered} times`);
  t.match(await pushing, { status: 201 });
  t.match(await ask('POST', '/v1/jobs', list(100_001)), { status: 413, body: { code: 'body-too-large', hint: /ndjson/ } });
  t.ok(isLongerList(Buffer.from('[[1,2],{"a":",","b":[1,2]},"\\",,,"]'), 2), 'three entries');
  t.notOk(isLongerList(Buffer.from('[[1,2],{"a":",","b":[1,2]},"\\",,,"]'), 3), 'commas inside do not count');
  t.notOk(isLongerList(Buffer.from('{"data":[1,2,3,4]}'), 1), 'one job');
});
