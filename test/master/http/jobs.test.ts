import t from 'tap';
import { idPath } from '../../../src/kit/id-path.js';
import { linesOf, openApi } from '../../lab/job-service.js';

t.test('push, look, change, cancel, retry, reset, delete', async (t) => {
  const { ask } = await openApi(t);
  t.match(await ask('POST', '/v1/jobs', { id: 'a', data: { n: 1 }, group: 'g', name: 'A' }), {
    status: 201,
    body: { jobs: [{ id: 'a', added: true }] },
  });
  t.match(
    await ask('POST', '/v1/jobs', [
      { id: 'a', data: 1 },
      { id: 'b', data: 0, parents: ['a'] },
    ]),
    { body: { jobs: [{ added: false }, { id: 'b', added: true }] } },
  );
  t.match(await ask('GET', '/v1/jobs/a'), {
    status: 200,
    body: { state: 'ready', data: { n: 1 }, children: ['b'], group: 'g', name: 'A' },
  });
  t.match(await ask('GET', '/v1/jobs?state=blocked&limit=5'), { body: { jobs: [{ id: 'b' }] } });
  t.match(await ask('GET', '/v1/jobs?idPrefix=a&oldestFirst=true'), { body: { jobs: [{ id: 'a' }] } });
  t.match(await ask('PATCH', '/v1/jobs/a', { priority: 7, name: null }), { body: { priority: 7, name: undefined } });
  t.match(await ask('POST', '/v1/jobs/a/cancel'), { body: { ids: ['a'] } });
  t.match(await ask('GET', '/v1/jobs/b'), { body: { state: 'failed', error: { code: 'parent-failed' } } });
  t.match(await ask('PATCH', '/v1/jobs/a', { priority: 1 }), { status: 409, body: { code: 'job-ended' } });
  t.match(await ask('POST', '/v1/jobs/retry', { ids: ['a', 'nobody'] }), { body: { ids: ['a'] } });
  t.match(await ask('POST', '/v1/jobs/cancel', { ids: ['a', 'b'] }), { body: { ids: ['a', 'b'] } });
  t.match(await ask('POST', '/v1/jobs/a/reset'), { body: { ids: ['a'] } });
  t.match(await ask('POST', '/v1/jobs/redrive', { limit: 5 }), { body: { jobs: 0 } });
  t.match(await ask('GET', '/v1/jobs/a/history'), { body: { entries: [] } });
  t.match(await ask('GET', '/v1/channels'), { body: { channels: [{ name: 'default', counts: { ready: 1, cancelled: 1 } }] } });
  t.match(await ask('DELETE', '/v1/jobs/a'), { body: { deleted: 2 } });
  for (const [method, path] of [
    ['GET', '/v1/jobs/a'],
    ['GET', '/v1/jobs/a/history'],
    ['DELETE', '/v1/jobs/a'],
    ['POST', '/v1/jobs/a/cancel'],
    ['POST', '/v1/jobs/a/retry'],
    ['POST', '/v1/jobs/a/reset'],
  ] as const)
    t.match(await ask(method, path), { status: 404, body: { code: 'job-unknown', hint: 'Check the id.' } }, `${method} ${path}`);
  t.match(await ask('PATCH', '/v1/jobs/a', {}), { status: 404 });
});

t.test('ids with slashes, spaces and other alphabets', async (t) => {
  const { ask } = await openApi(t);
  for (const id of ['a/b', 'ü ö', '50%', '../x', 'j?x=1#y', '日本', '~', '%2e%2e', '日'.repeat(200)]) {
    await ask('POST', '/v1/jobs', { id, data: 1 });
    t.match(await ask('GET', `/v1/jobs/${encodeURIComponent(id)}`), { status: 200, body: { id } }, id);
  }
});

t.test('what stands under an id that no path can hold', async (t) => {
  const { ask } = await openApi(t);
  for (const id of ['..', '.', 'a/b', 'c\\d', '50%', '~', '🙂'.repeat(100)]) {
    const to = (verb?: string, query?: Record<string, string>) => `/${idPath('v1/jobs', id, verb, query)}`;
    t.match(await ask('POST', '/v1/jobs', { id, data: 1, group: id, workgroup: id }), { status: 201 }, id);
    t.match(await ask('GET', to()), { body: { id, state: 'ready' } });
    t.match(await ask('GET', to('history', { after: '0', limit: '5' })), { body: { entries: [] } });
    t.match(await ask('PATCH', to(), { priority: 3 }), { body: { id, priority: 3 } });
    for (const verb of ['cancel', 'retry', 'reset']) t.match(await ask('POST', to(verb)), { status: 200, body: { ids: [id] } }, verb);
    t.match(await ask('GET', `/${idPath('v1/groups', id, 'graph')}`), { body: { nodes: [{ id }] } });
    t.match(await ask('POST', `/${idPath('v1/groups', id, 'pause')}`), { body: { id, paused: true } });
    t.match(await ask('POST', `/${idPath('v1/workgroups', id, 'hold')}`, { ms: 1_000 }), { body: { id, heldUntil: Number } });
    t.match(await ask('DELETE', to()), { body: { deleted: 1 } });
  }
  t.match(await ask('GET', '/v1/jobs/~?id='), { status: 400, body: { code: 'request-invalid' } });
  t.match(await ask('GET', '/v1/jobs/~?id=a&id=b'), { status: 400, body: { code: 'request-invalid' } });
});

t.test('the beginning of an id, where it is asked for and only one begins so', async (t) => {
  const { ask } = await openApi(t);
  const jobs = ['a-1', 'a-17', 'a-18', 'b', 'c-5'].map((id) => ({ id, data: 1 }));
  await ask('POST', '/v1/jobs', [...jobs, ...Array.from({ length: 9 }, (_, n) => ({ id: `many${n}`, data: 1 }))]);
  t.match(await ask('GET', '/v1/jobs/a-17?prefix=true'), { body: { id: 'a-17' } });
  t.match(await ask('GET', '/v1/jobs/a-1?prefix=true'), { body: { id: 'a-1' } }, 'one that is just this');
  t.match(await ask('GET', '/v1/jobs/c?prefix=true'), { body: { id: 'c-5' } });
  t.match(await ask('GET', '/v1/jobs/c'), { status: 404 }, 'a program that names an id means that one');
  t.match(await ask('GET', '/v1/jobs/a-?prefix=true'), {
    status: 409,
    body: { code: 'job-ambiguous', detail: /"a-" may be "a-1", "a-17", "a-18"$/ },
  });
  t.match(await ask('GET', '/v1/jobs/many?prefix=true'), { status: 409, body: { detail: /"many4" …$/ } });
  t.match(await ask('GET', '/v1/jobs/nobody?prefix=true'), { status: 404, body: { code: 'job-unknown' } });
  t.match(await ask('POST', '/v1/jobs/c/cancel?prefix=true'), { body: { ids: ['c-5'] } });
  t.match(await ask('POST', '/v1/jobs/cancel', { ids: ['b', 'a-18'], prefix: true }), { body: { ids: ['b', 'a-18'] } });
  t.match(await ask('POST', '/v1/jobs/retry', { ids: ['b', 'a'], prefix: true }), { status: 409 });
  t.match(await ask('POST', '/v1/jobs/redrive', { state: 'cancelled' }), { body: { jobs: 3 } });
});

t.test('a stream of jobs: answered line by line, bad lines by number, the rest added', async (t) => {
  const { ask, ledger } = await openApi(t);
  const lines = [
    '{"id":"a","data":1}',
    '',
    'no json',
    '{"id":"b"}',
    '{"id":"a","data":2}',
    '{"id":"c","data":3,"parents":["a"]}',
    '{"data":1,"parents":["zz"]}',
  ];
  const answer = await ask('POST', '/v1/jobs', lines.join('\n'), { 'content-type': 'application/x-ndjson' });
  t.equal(answer.status, 200);
  t.match(linesOf(answer.text), [
    { id: 'a', added: true },
    { line: 3, problem: { code: 'request-invalid' } },
    { line: 4, problem: { code: 'job-invalid' } },
    { id: 'a', added: false },
    { id: 'c', added: true },
    { line: 7, problem: { code: 'parent-unknown' } },
    { summary: { added: 2, known: 1, refused: 3 } },
  ]);
  t.match(await ledger.counts(), { ready: 1, blocked: 1 });
});

t.test('20,000 jobs as a stream, cut in the middle, then again: each is there once', async (t) => {
  const { ask, ledger, url } = await openApi(t);
  const count = 20_000;
  const line = (at: number) => `${JSON.stringify({ id: `job-${at}`, data: { at, text: 'x'.repeat(100) } })}\n`;
  const gone = new AbortController();
  const sending = fetch(`${url}/v1/jobs`, {
    method: 'POST',
    headers: { 'content-type': 'application/x-ndjson' },
    signal: gone.signal,
    duplex: 'half',
    body: new ReadableStream({
      async pull(controller) {
        for (let at = 0; at < count / 2; at += 1) controller.enqueue(Buffer.from(line(at)));
        await new Promise(() => {});
      },
    }),
  } as RequestInit);
  // The response is read to the end: fetch aborts a stream whose response has been garbage-collected.
  let ended: unknown;
  const reading = sending
    .then((response) => response.text())
    .catch((error: unknown) => {
      ended = error;
    });
  while ((await ledger.counts()).ready < 1_000) {
    if (ended !== undefined) throw ended;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  gone.abort();
  await reading;
  const text = Array.from({ length: count }, (_, at) => line(at)).join('');
  const answer = await ask('POST', '/v1/jobs?answers=problems', text, { 'content-type': 'application/x-ndjson' });
  const [{ summary }] = linesOf(answer.text) as [{ summary: { added: number; known: number; refused: number } }];
  t.equal(summary.added + summary.known, count);
  t.ok(summary.known >= 1_000);
  t.equal((await ledger.counts()).ready, count);
});

t.test('groups, workgroups and schedules', async (t) => {
  const { ask } = await openApi(t);
  t.match(await ask('PUT', '/v1/groups/g', { name: 'G', paused: true, meta: { x: 1 } }), {
    status: 200,
    body: { id: 'g', name: 'G', paused: true },
  });
  await ask('POST', '/v1/jobs', [
    { id: 'a', data: 1, group: 'g' },
    { id: 'b', data: 1, group: 'g', parents: ['a'] },
  ]);
  t.match(await ask('GET', '/v1/groups/g/graph'), { body: { nodes: [{ id: 'a' }, { id: 'b' }], edges: [[0, 1]], truncated: false } });
  t.match(await ask('GET', '/v1/jobs/a'), { body: { waiting: 'group-paused' } });
  t.match(await ask('POST', '/v1/groups/g/resume'), { status: 200 });
  t.match(await ask('GET', '/v1/groups'), { body: { groups: [{ id: 'g', paused: false, counts: { ready: 1, blocked: 1 } }] } });
  t.match(await ask('POST', '/v1/groups/g/pause'), { status: 200 });
  for (const verb of ['cancel', 'retry', 'reset']) t.match(await ask('POST', `/v1/groups/g/${verb}`), { status: 200 }, verb);
  t.match(await ask('DELETE', '/v1/groups/g'), { status: /200|204/ });
  for (const verb of ['pause', 'resume', 'cancel', 'retry', 'reset'])
    t.match(await ask('POST', `/v1/groups/g/${verb}`), { status: 404, body: { code: 'group-unknown' } }, verb);
  t.match(await ask('GET', '/v1/groups/g'), { status: 404 });
  t.match(await ask('PUT', '/v1/workgroups/w', { maxRunning: 2, rate: 5, periodMs: 1000 }), {
    body: { id: 'w', maxRunning: 2, running: 0 },
  });
  t.match(await ask('PUT', '/v1/workgroups/w', { maxRunning: 0 }), { status: 400, body: { code: 'workgroup-invalid' } });
  t.match(await ask('POST', '/v1/workgroups/w/hold', { ms: 60_000 }), { body: { heldUntil: Number } });
  t.match(await ask('POST', '/v1/workgroups/w/release'), { body: { heldUntil: undefined } });
  t.match(await ask('GET', '/v1/workgroups'), { body: { workgroups: [{ id: 'w' }] } });
  t.match(await ask('GET', '/v1/workgroups/x'), { status: 404, body: { code: 'workgroup-unknown' } });
  t.match(await ask('PUT', '/v1/schedules/s', { cron: '*/5 * * * *', job: { data: 1 }, timeZone: 'Europe/Berlin' }), {
    body: { id: 's', nextAt: Number },
  });
  t.match(await ask('PUT', '/v1/schedules/s', { cron: 'nonsense', job: { data: 1 } }), { status: 400, body: { code: 'schedule-invalid' } });
  t.match(await ask('POST', '/v1/schedules/s/pause'), { body: { paused: true } });
  t.match(await ask('POST', '/v1/schedules/s/resume'), { body: { paused: false } });
  t.match(await ask('GET', '/v1/schedules'), { body: { schedules: [{ id: 's' }] } });
  t.match(await ask('DELETE', '/v1/schedules/s'), { status: 204 });
  t.match(await ask('DELETE', '/v1/schedules/s'), { status: 404, body: { code: 'schedule-unknown' } });
});
