import t from 'tap';
import { openApi } from '../../lab/desk.js';

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
