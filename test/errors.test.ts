import { readFileSync } from 'node:fs';
import t from 'tap';
import { asPeerworkError, describeError, errorTable, isErrorCode, PeerworkError } from '../src/errors.js';

const docs = readFileSync(new URL('../../docs/errors.md', import.meta.url), 'utf8');

t.test('every code is documented, and every documented code exists', async (t) => {
  const documented = [...docs.matchAll(/^\| `([a-z-]+)` \|/gm)].map(([, code = '']) => code);
  const codes = Object.keys(errorTable);
  t.same(
    codes.filter((code) => !documented.includes(code)),
    [],
    'codes that the docs lack',
  );
  t.same(
    documented.filter((code) => !codes.includes(code)),
    [],
    'documented codes that do not exist',
  );
  t.equal(documented.length, new Set(documented).size, 'none twice');
});

t.test('the docs say of each code what the table says', async (t) => {
  for (const [code, { message, todo, status }] of Object.entries(errorTable)) {
    const row = docs.split('\n').find((line) => line.startsWith(`| \`${code}\` |`)) ?? '';
    const shown = row.replaceAll('\\|', '|');
    t.ok(shown.includes(message.replace('{detail}', '…')), `${code}: message`);
    t.ok(shown.includes(todo), `${code}: what to do`);
    t.ok(shown.trimEnd().endsWith(`| ${status} |`), `${code}: status`);
  }
});

t.test('every entry reads as a sentence', async (t) => {
  for (const [code, { message, todo, status }] of Object.entries(errorTable)) {
    t.match(code, /^[a-z]+(-[a-z]+)*$/, `${code}: kebab-case`);
    t.notMatch(message, /\.$/, `${code}: no full stop after the message`);
    t.match(todo, /\.$/, `${code}: a full stop after what to do`);
    t.ok(status >= 400 && status < 600, `${code}: an HTTP error status`);
  }
});

t.test('a PeerworkError carries code, detail, message and what to do', async (t) => {
  const error = new PeerworkError('tracker-unreachable', 'ws://127.0.0.1:1');
  t.equal(error.message, 'No tracker could be reached: ws://127.0.0.1:1');
  t.match(error, { name: 'PeerworkError', code: 'tracker-unreachable', detail: 'ws://127.0.0.1:1', status: 503 });
  t.equal(error.todo, errorTable['tracker-unreachable'].todo);
  t.equal(describeError('tracker-unreachable'), 'No tracker could be reached', 'without particulars no colon is left');
  t.equal(describeError('token-cut', 'really'), 'The token is cut short (really)');
  t.equal(describeError('task-threw', '$& {detail}'), 'The task threw: $& {detail}', 'particulars are taken as they are');
});

t.test('whatever is thrown becomes a PeerworkError', async (t) => {
  const own = new PeerworkError('stale');
  t.equal(asPeerworkError(own), own);
  const cause = new TypeError('x is not a function');
  t.match(asPeerworkError(cause), { code: 'internal', detail: 'x is not a function', cause });
  t.match(asPeerworkError('text', 'link-lost'), { code: 'link-lost', detail: 'text' });
  t.ok(isErrorCode('stale'));
  t.notOk(isErrorCode('toString'));
});
