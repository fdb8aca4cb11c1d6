import { createHash } from 'node:crypto';
import { request } from 'node:http';
import t from 'tap';
import { openApi } from '../../lab/job-service.js';

const shaOf = (content: string) => createHash('sha256').update(content).digest('hex');
const binary = { 'content-type': 'application/octet-stream' };

t.test('content is stored by its hash, in parts if need be, and a job refers to it', async (t) => {
  const { ask } = await openApi(t);
  const sha256 = shaOf('abcdef');
  const at = `/v1/files/${sha256}`;
  const job = { id: 'a', data: 1, files: { 'in.txt': { sha256, size: 6 } } };
  t.match(await ask('POST', '/v1/jobs', job), { status: 404, body: { code: 'file-unknown', hint: /PUT \/v1\/files/ } });
  t.match(await ask('GET', `${at}/received`), { body: { length: 0, complete: false } });
  t.match(await ask('PUT', at, 'abc', { ...binary, 'content-range': 'bytes 0-2/6' }), {
    status: 202,
    body: { length: 3, complete: false },
  });
  t.match(await ask('PUT', at, 'abc', { ...binary, 'content-range': 'bytes 0-2/6' }), { status: 409, body: { code: 'upload-position' } });
  t.match(await ask('GET', `${at}/received`), { body: { length: 3, complete: false } });
  t.match(await ask('PUT', at, 'def', { ...binary, 'content-range': 'bytes 3-5/6' }), { status: 201, body: { length: 6, complete: true } });
  t.match(await ask('PUT', at, 'abcdef', binary), { status: 201, body: { complete: true } }, 'once more is no harm');
  t.match(await ask('GET', at), { status: 200, text: 'abcdef' });
  for (const [range, text, shown] of [
    ['bytes=1-2', 'bc', 'bytes 1-2/6'],
    ['bytes=4-', 'ef', 'bytes 4-5/6'],
    ['bytes=-2', 'ef', 'bytes 4-5/6'],
    ['bytes=0-99', 'abcdef', 'bytes 0-5/6'],
  ] as const) {
    const answer = await ask('GET', at, undefined, { range });
    t.match(answer, { status: 206, text }, range);
    t.equal(answer.headers.get('content-range'), shown);
  }
  t.match(await ask('GET', at, undefined, { range: 'bytes=6-' }), { status: 400 });
  t.match(await ask('GET', `/v1/files/${shaOf('none')}`), { status: 404, body: { code: 'file-unknown' } });
  t.match(await ask('POST', '/v1/jobs', job), { status: 201 });
  t.match(await ask('POST', '/v1/leases', { worker: { name: 'w' }, channels: ['default'] }), {
    body: { jobs: [{ id: 'a', files: job.files }] },
  });
  t.match(await ask('GET', '/v1/jobs/a'), { body: { files: { 'in.txt': { sha256, size: 6 } } } });
});

t.test('what is sent wrongly is refused, and takes nothing', async (t) => {
  const { ask } = await openApi(t);
  const at = `/v1/files/${shaOf('abcdef')}`;
  t.match(await ask('PUT', at, 'other', binary), { status: 422, body: { code: 'file-mismatch' } });
  for (const range of ['bytes 3-2/6', 'bytes 0-5/5', 'bytes x', 'items 0-1/6', 'bytes 0-5/6'])
    t.match(await ask('PUT', at, 'ab', { ...binary, 'content-range': range }), { status: 400, body: { code: 'request-invalid' } }, range);
  t.match(await ask('PUT', '/v1/files/nohash', 'x', binary), { status: 400 });
  t.match(await ask('GET', '/v1/files/nohash/received'), { status: 400 });
  t.match(await ask('POST', '/v1/jobs', { data: 1, files: { a: '/etc/passwd' } }), { status: 400, body: { code: 'job-invalid' } });
  t.match(await ask('GET', `${at}/received`), { body: { length: 0, complete: false } });
});

t.test('only who may push may store', async (t) => {
  const { ask } = await openApi(t, { tokens: ['read:the-reader', 'work:the-worker'] });
  const at = `/v1/files/${shaOf('x')}`;
  const as = (token: string) => ({ ...binary, authorization: `Bearer ${token}` });
  t.match(await ask('PUT', at, 'x', as('the-reader')), { status: 403 });
  t.match(await ask('PUT', at, 'x', binary), { status: 401 });
  t.match(await ask('PUT', at, 'x', as('the-worker')), { status: 201 });
});

t.test('a client that goes, or sends nothing more, leaves what has come', async (t) => {
  const { ask, url } = await openApi(t, { streamIdleMs: 200 });
  const content = 'x'.repeat(100_000);
  const at = `/v1/files/${shaOf(content)}`;
  const part = { ...binary, 'content-range': `bytes 0-${content.length - 1}/${content.length}`, 'content-length': String(content.length) };
  const leaving = request(`${url}${at}`, { method: 'PUT', headers: part });
  leaving.on('error', () => {});
  await new Promise<void>((resolve) => leaving.write(content.slice(0, 40_000), () => resolve()));
  const closed = new Promise((resolve) => leaving.on('close', resolve));
  await closed; // ended by the server
  const { length } = (await ask('GET', `${at}/received`)).body;
  t.equal(length, 40_000);
  t.match(await ask('PUT', at, content.slice(length), { ...binary, 'content-range': `bytes ${length}-99999/100000` }), {
    status: 201,
    body: { complete: true },
  });
});
