import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { collectResults, sizeOfResults } from '../../../src/runners/crawl/results.js';

function folderOf(t: Test, files: Readonly<Record<string, string>>): string {
  const folder = mkdtempSync(join(tmpdir(), 'peerwork-results-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  return folder;
}

const page = (requestId: string, more: object = {}) => `${JSON.stringify({ requestId, ...more })}\n`;

t.test('one result a page: read beats failed, the first beats the second', async (t) => {
  const folder = folderOf(t, {
    'a.ndjson': page('1', { a: 1 }) + page('2', { error: 'x' }) + page('3', { error: 'y' }),
    'b.ndjson': page('1', { b: 1 }) + page('2', { b: 2 }) + page('1', { error: 'z' }),
  });
  const { results, failed } = await collectResults(folder, 1_000);
  t.same(results, [
    { requestId: '1', a: 1 },
    { requestId: '2', b: 2 },
    { requestId: '3', error: 'y' },
  ]);
  t.equal(failed, 1);
});

t.test('a torn line, what is no result, and other files are left out', async (t) => {
  const folder = folderOf(t, { 'a.ndjson': `${page('1')}null\n[]\n{"requestId":7}\n{"a":\n{"requestId":"2"`, 'b.json': page('3') });
  t.same((await collectResults(folder, 1_000)).results, [{ requestId: '1' }]);
});

t.test('links, pipes and folders are not read', async (t) => {
  const secret = folderOf(t, { 'key.txt': page('secret') });
  const folder = folderOf(t, { 'a.ndjson': page('1') });
  symlinkSync(join(secret, 'key.txt'), join(folder, 'b.ndjson'));
  execFileSync('mkfifo', [join(folder, 'c.ndjson')]);
  mkdirSync(join(folder, 'd.ndjson'));
  t.same((await collectResults(folder, 1_000)).results, [{ requestId: '1' }]);
});

t.test('more than can be given back is refused before it is in memory', async (t) => {
  const small = folderOf(t, { 'a.ndjson': page('1', { text: 'x'.repeat(600) }), 'b.ndjson': page('2', { text: 'x'.repeat(600) }) });
  await t.rejects(collectResults(small, 1_000), { code: 'output-too-large' });
  const large = folderOf(t, { 'a.ndjson': page('1', { text: 'x'.repeat(6_000) }) });
  await t.rejects(collectResults(large, 1_000), { code: 'output-too-large' });
  t.ok((await sizeOfResults(small)) > 1_200);
});
