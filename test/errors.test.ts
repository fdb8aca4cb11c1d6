import { readFileSync } from 'node:fs';
import t from 'tap';
import { wires } from '../src/cli/wires.js';
import {
  asPeerworkError,
  declaredErrors,
  declareErrors,
  describeError,
  type ErrorEntry,
  errorTable,
  knownError,
  PeerworkError,
} from '../src/errors.js';

const table: Readonly<Record<string, ErrorEntry>> = Object.fromEntries([
  ...Object.entries(errorTable),
  ...wires.flatMap(({ errors }) => Object.entries(errors.table)),
]);
const docs = readFileSync(new URL('../../docs/errors.md', import.meta.url), 'utf8');

t.test('every code is documented, and every documented code exists', async (t) => {
  const documented = [...docs.matchAll(/^\| `([a-z-]+)` \|/gm)].map(([, code = '']) => code);
  const codes = Object.keys(table);
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
  for (const [code, { message, hint, status }] of Object.entries(table)) {
    const row = docs.split('\n').find((line) => line.startsWith(`| \`${code}\` |`)) ?? '';
    const shown = row.replaceAll('\\|', '|');
    t.ok(shown.includes(message.replace('{detail}', '…')), `${code}: message`);
    t.ok(shown.includes(hint), `${code}: what to do`);
    t.ok(shown.trimEnd().endsWith(`| ${status} |`), `${code}: status`);
  }
});

t.test('every entry reads as a sentence', async (t) => {
  for (const [code, { message, hint, status }] of Object.entries(table)) {
    t.match(code, /^[a-z]+(-[a-z]+)*$/, `${code}: kebab-case`);
    t.notMatch(message, /\.$/, `${code}: no full stop after the message`);
    t.match(hint, /\.$/, `${code}: a full stop after what to do`);
    t.ok(status >= 400 && status < 600, `${code}: an HTTP error status`);
  }
});

t.test('a PeerworkError carries code, detail, message and what to do', async (t) => {
  const error = new PeerworkError('tracker-unreachable', 'ws://127.0.0.1:1');
  t.equal(error.message, 'No tracker could be reached: ws://127.0.0.1:1');
  t.match(error, { name: 'PeerworkError', code: 'tracker-unreachable', detail: 'ws://127.0.0.1:1', status: 503 });
  t.equal(error.hint, errorTable['tracker-unreachable'].hint);
  t.equal(describeError('tracker-unreachable'), 'No tracker could be reached', 'without particulars no colon is left');
  t.equal(describeError('token-cut', 'really'), 'The token is truncated (really)');
  t.equal(describeError('task-threw', '$& {detail}'), 'The task threw: $& {detail}', 'particulars are taken as they are');
});

t.test('whatever is thrown becomes a PeerworkError', async (t) => {
  const own = new PeerworkError('stale');
  t.equal(asPeerworkError(own), own);
  const cause = new TypeError('x is not a function');
  t.match(asPeerworkError(cause), { code: 'internal', detail: 'x is not a function', cause });
  t.match(asPeerworkError('text', 'link-lost'), { code: 'link-lost', detail: 'text' });
  t.match(knownError('stale', 'x'), { code: 'stale', detail: 'x', status: 409 });
  t.equal(knownError('toString'), undefined);
});

t.test('a wire declares its own codes, each once', async (t) => {
  const entry = { message: 'The pond is frozen: {detail}', hint: 'Wait for spring.', status: 503, exitCode: 3 } as const;
  t.equal(knownError('pond-frozen'), undefined);
  const PondError = declareErrors({ 'pond-frozen': entry });
  const error = new PondError('pond-frozen', 'two feet');
  t.match(error, { name: 'PeerworkError', code: 'pond-frozen', message: 'The pond is frozen: two feet', hint: entry.hint, status: 503 });
  t.equal(error.exitCode, 3);
  t.ok(error instanceof PeerworkError && error instanceof PondError);
  t.notOk(new PeerworkError('stale') instanceof PondError);
  t.match(knownError('pond-frozen', 'as a peer says'), { hint: entry.hint, status: 503 }, 'also where it comes from the other side');
  t.match(asPeerworkError(new Error('crack'), PondError.of('pond-frozen')), { code: 'pond-frozen', detail: 'crack' });
  t.throws(() => declareErrors({ stale: entry }), /stale is declared twice/);
  t.equal(declaredErrors().get('stale')?.status, 409, 'and the first holds');
});
