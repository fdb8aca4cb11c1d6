import { connect } from 'node:net';
import t from 'tap';
import { linesOf, openApi } from '../../lab/job-service.js';

t.test('bad input: a clear problem each time, with what to do', async (t) => {
  const { ask, ledger } = await openApi(t);
  const cases: readonly (readonly [method: string, path: string, body: unknown, status: number, code: string])[] = [
    ['POST', '/v1/jobs', '{"data":', 400, 'request-invalid'],
    ['POST', '/v1/jobs', '', 400, 'request-invalid'],
    ['POST', '/v1/jobs', 'null', 400, 'request-invalid'],
    ['POST', '/v1/jobs', '"text"', 400, 'job-invalid'],
    ['POST', '/v1/jobs', { data: 1, priority: '5' }, 400, 'job-invalid'],
    ['POST', '/v1/jobs', [{ data: 1 }, { data: 1, oops: 1 }], 400, 'job-invalid'],
    [
      'POST',
      '/v1/jobs',
      [
        { id: 'a', data: 1, parents: ['b'] },
        { id: 'b', data: 1, parents: ['a'] },
      ],
      400,
      'graph-cycle',
    ],
    ['POST', '/v1/jobs', { data: 1, parents: ['nobody'] }, 400, 'parent-unknown'],
    ['POST', '/v1/jobs', Buffer.from([0x22, 0xff, 0x22]).toString('latin1'), 400, 'job-invalid'],
    ['GET', '/v1/jobs?limit=many', undefined, 400, 'request-invalid'],
    ['GET', '/v1/jobs?limit=9999', undefined, 400, 'request-invalid'],
    ['GET', '/v1/jobs?nothing=1', undefined, 400, 'request-invalid'],
    ['GET', '/v1/jobs?after=x', undefined, 400, 'request-invalid'],
    ['GET', '/v1/jobs/%zz', undefined, 400, 'request-invalid'],
    ['POST', '/v1/leases', { worker: {}, channels: [] }, 400, 'request-invalid'],
    ['POST', '/v1/leases', { worker: { name: 'x' }, channels: ['a'], waitMs: 1e9 }, 400, 'request-invalid'],
    [
      'POST',
      '/v1/leases/settle',
      { worker: { name: 'x' }, results: [{ id: 'a', lease: 1, outcome: { state: 'done' } }] },
      400,
      'request-invalid',
    ],
    ['GET', '/nowhere', undefined, 404, 'route-unknown'],
    ['PUT', '/v1/jobs', { data: 1 }, 405, 'method-unknown'],
    ['PATCH', '/v1/jobs/a', { nothing: 1 }, 400, 'request-invalid'],
  ];
  for (const [method, path, body, status, code] of cases) {
    const answer = await ask(method, path, body, body === '' ? { 'content-type': 'application/json' } : {});
    t.match(
      answer,
      { status, body: { code, status, type: `urn:peerwork:error:${code}`, hint: /\.$/ } },
      `${method} ${path} ${JSON.stringify(body)?.slice(0, 60)}`,
    );
    t.match(answer.headers.get('content-type'), /problem\+json/);
  }
  t.match(await ask('POST', '/v1/jobs', '<x/>', { 'content-type': 'text/xml' }), { status: 415, body: { code: 'media-type' } });
  t.match(await ask('PATCH', '/v1/groups/g', undefined), { status: 405 });
  t.match(await ledger.counts(), { ready: 0, blocked: 0 }, 'nothing of it was added');
});

t.test('what is too large', async (t) => {
  const { ask } = await openApi(t);
  t.match(await ask('POST', '/v1/jobs', { data: 'x'.repeat(8 * 1024 * 1024) }), { status: 400, body: { code: 'job-invalid' } });
  t.match(await ask('POST', '/v1/jobs', { data: 'x'.repeat(17 * 1024 * 1024) }), { status: 413, body: { code: 'body-too-large' } });
  t.match(await ask('PUT', '/v1/groups/g', { name: 'x'.repeat(2 * 1024 * 1024) }), { status: 413 });
  const chain = Array.from({ length: 10_000 }, (_, at) => ({ id: `j${at}`, data: 1, ...(at > 0 && { parents: [`j${at - 1}`] }) }));
  t.match(await ask('POST', '/v1/jobs', chain), { status: 201 });
  t.match(await ask('GET', '/v1/stats'), { body: { counts: { ready: 1, blocked: 9_999 } } });
  const deep = `{"data":${'['.repeat(100_000)}${']'.repeat(100_000)}}`;
  t.match(await ask('POST', '/v1/jobs', deep), { status: 400, body: { code: /job-invalid|request-invalid/ } });
});

t.test('tokens and scopes', async (t) => {
  const tokens = ['read:read-token', 'work:work-token', 'admin:admin-token', 'read:both-token', 'work:both-token'];
  const { ask } = await openApi(t, { tokens });
  const as = (token: string) => ({ authorization: `Bearer ${token}` });
  t.match(await ask('GET', '/v1/jobs'), { status: 401, body: { code: 'http-unauthorized' } });
  t.match(await ask('GET', '/v1/jobs', undefined, as('wrong-token')), { status: 401 });
  t.match(await ask('GET', '/v1/jobs', undefined, as('read-token')), { status: 200 });
  t.match(await ask('GET', '/v1/jobs?access_token=read-token'), { status: 200 });
  t.match(await ask('POST', '/v1/jobs?access_token=work-token', { data: 1 }), { status: 401 }, 'a token in the address is for reading');
  t.match(await ask('POST', '/v1/jobs', { data: 1 }, as('read-token')), { status: 403, body: { code: 'http-forbidden' } });
  t.match(await ask('POST', '/v1/jobs', { data: 1 }, as('work-token')), { status: 201 });
  t.match(await ask('POST', '/v1/jobs/redrive', {}, as('work-token')), { status: 403 });
  t.match(await ask('POST', '/v1/jobs/redrive', {}, as('admin-token')), { status: 200 });
  t.match(await ask('GET', '/v1/status', undefined, as('both-token')), { body: { scopes: ['read', 'work'] } });
  t.match(await ask('GET', '/health'), { status: 200, body: { healthy: true } });
  t.match(await ask('GET', '/openapi.json'), { status: 200 });
});

t.test('without tokens only this machine is served, whoever a page of another site may be', async (t) => {
  const { ask, url } = await openApi(t);
  t.match(await ask('GET', '/v1/jobs', undefined, { origin: 'https://evil.example' }), { status: 403 });
  t.match(await ask('GET', '/v1/jobs', undefined, { origin: url }), { status: 200 });
  t.match(await ask('GET', '/v1/jobs', undefined, { 'x-forwarded-for': '1.2.3.4' }), { status: 403 });
  const rebound = await raw(url, 'GET /v1/jobs HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n');
  t.match(rebound, /^HTTP\/1.1 403/);
});

t.test('too many requests', async (t) => {
  const { ask } = await openApi(t, { requestsPer10s: 5 });
  const answers = await Promise.all(Array.from({ length: 8 }, () => ask('GET', '/v1/stats')));
  t.equal(answers.filter(({ status }) => status === 200).length, 5);
  t.match(
    answers.find(({ status }) => status === 429),
    { body: { code: 'rate-limited' } },
  );
  t.ok(Number(answers.find(({ status }) => status === 429)?.headers.get('retry-after')) > 0);
});

t.test('slow and broken clients are shown the door, others are served meanwhile', async (t) => {
  const { ask, url } = await openApi(t, { headersTimeoutMs: 300, bodyTimeoutMs: 300, streamIdleMs: 300 });
  const slow = [
    raw(url, 'GET /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: '),
    raw(url, 'POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"da'),
    raw(url, 'POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-ndjson\r\nContent-Length: 100\r\n\r\n{"da'),
    raw(url, 'this is no HTTP\r\n\r\n'),
  ];
  t.match(await ask('GET', '/v1/stats'), { status: 200 });
  const [headers, body, stream, nonsense] = await Promise.all(slow);
  t.match(headers, /^HTTP\/1.1 408[\s\S]*request-slow/);
  t.match(body, /^HTTP\/1.1 408[\s\S]*request-slow/);
  t.notMatch(stream, /summary/);
  t.match(nonsense, /^HTTP\/1.1 400[\s\S]*request-invalid/);
});

t.test('a ledger that is slow does not make a client one: its stream is not cut', async (t) => {
  const { service, ledger, ask } = await openApi(t, { streamIdleMs: 300 });
  const push = service.push.bind(service);
  service.push = async (jobs) => {
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    return push(jobs);
  };
  const text = Array.from({ length: 1_200 }, (_, at) => `{"id":"job-${at}","data":null}\n`).join('');
  const { text: answer } = await ask('POST', '/v1/jobs?answers=problems', text, { 'content-type': 'application/x-ndjson' });
  t.same(linesOf(answer), [{ summary: { added: 1_200, known: 0, refused: 0 } }]);
  t.equal((await ledger.counts()).ready, 1_200);
});

t.test('a body that takes long but comes steadily is taken', async (t) => {
  const { url } = await openApi(t, { bodyTimeoutMs: 300 });
  const text = JSON.stringify({ data: 'x'.repeat(200_000) });
  async function* slowly() {
    for (let at = 0; at < text.length; at += 16_384) {
      yield Buffer.from(text.slice(at, at + 16_384));
      await new Promise((resolve) => setTimeout(resolve, 60));
    }
  }
  const response = await fetch(`${url}/v1/jobs`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: slowly(),
    duplex: 'half',
  } as never);
  t.equal(response.status, 201, await response.text());
});

/** Returns what the server sends until it closes the connection. */
function raw(url: string, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(Number(new URL(url).port), '127.0.0.1', () => socket.write(text));
    let heard = '';
    socket.on('data', (chunk) => {
      heard += chunk;
    });
    socket.on('close', () => resolve(heard));
    socket.on('error', (error: NodeJS.ErrnoException) => (error.code === 'ECONNRESET' ? resolve(heard) : reject(error)));
  });
}
