import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { enterResults, ResultBook, sizeOfResults } from '../../../src/runners/crawl/results.js';
import { removeFolder } from '../../lab/remove-folder.js';

function folderOf(t: Test, files: Readonly<Record<string, string>>): string {
  const folder = mkdtempSync(join(tmpdir(), 'peerwork-results-'));
  t.teardown(() => removeFolder(folder));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  return folder;
}

async function collectResults(folder: string, maxBytes: number): Promise<ResultBook> {
  const book = new ResultBook(maxBytes);
  await enterResults(folder, book, maxBytes);
  return book;
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

t.test('as many as have room are kept, in bytes of JSON, and the others are counted', async (t) => {
  const folder = folderOf(t, {
    'a.ndjson':
      page('1', { text: 'x'.repeat(600) }) + page('2', { text: 'x'.repeat(600) }) + page('2', { error: 'x' }) + page('3', { a: 1 }),
  });
  const book = await collectResults(folder, 1_000);
  t.same(
    book.results.map((result) => (result as { requestId: string }).requestId),
    ['1', '2', '3'],
  );
  t.match(book, { leftOut: 0, failed: 1 }, 'what a page that had no room said of its failure had');
  const some = folderOf(t, { 'a.ndjson': page('1', { text: 'x'.repeat(90) }) + page('2') + page('2', { text: 'x'.repeat(90) }) });
  t.match(await collectResults(some, 100), { leftOut: 1, results: [{ requestId: '2' }] });
  const wide = folderOf(t, {
    'a.ndjson': page('1', { text: '\u4e2d'.repeat(400) }) + page('2', { n: 1 }).replace('1}', `1${'0'.repeat(500)}}`),
  });
  t.match(await collectResults(wide, 1_000), { leftOut: 1, results: [{ requestId: '2' }] }, 'a letter may be three bytes');
});

t.test('a file is read to its limit, and what was torn there is left out', async (t) => {
  const folder = folderOf(t, { 'a.ndjson': page('1') + page('2', { text: 'x'.repeat(6_000) }) + page('3') });
  t.same((await collectResults(folder, 1_000)).results, [{ requestId: '1' }]);
  const { results, all } = await sizeOfResults(folder);
  t.ok(results > 6_000 && all > results);
});

t.test('what earlier attempts read is not replaced by what failed since', async (t) => {
  const book = new ResultBook(1_000);
  book.add('{"requestId":"1","a":1}');
  book.add('{"requestId":"1","error":"x"}');
  t.ok(book.has('1'));
  t.same(book.results, [{ requestId: '1', a: 1 }]);
});
