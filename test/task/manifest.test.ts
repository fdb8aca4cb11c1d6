import t, { type Test } from 'tap';
import { PeerworkError } from '../../src/errors.js';
import { checkAssetPaths } from '../../src/task/asset-path.js';
import { canonicalJson } from '../../src/task/canonical-json.js';
import { type Manifest, parseManifest, signManifest, verifyManifest } from '../../src/task/manifest.js';
import { makeKey, manifestOf, verify } from './fixtures.js';

const hash = 'ab'.repeat(32);
const base = manifestOf({ 'task.js': 'one', 'lib/two.js': 'two' });

function assertRefused(t: Test, value: unknown, code: string, message: string) {
  t.throws(() => parseManifest(canonicalJson(value as Manifest)), { code }, message);
}

t.test('canonical JSON: one text for one value', async (t) => {
  t.equal(canonicalJson({ b: [1, { d: null, c: 'é\n' }], a: true }), '{"a":true,"b":[1,{"c":"é\\n","d":null}]}');
  for (const value of [0.5, Number.NaN, 2 ** 60, Number.POSITIVE_INFINITY])
    t.throws(() => canonicalJson(value), { code: 'manifest-invalid' });
});

t.test('a signed manifest is what was signed, by whom it was signed', async (t) => {
  const { publisher, sign } = makeKey();
  const stranger = makeKey();
  const signed = signManifest(base, publisher, sign);
  t.same(verifyManifest(signed, publisher, verify), base);

  const unsigned = { code: 'manifest-unsigned' };
  t.throws(() => verifyManifest(signed, stranger.publisher, verify), unsigned, 'signed by another than expected');
  t.throws(
    () => verifyManifest(signManifest(base, publisher, stranger.sign), publisher, verify),
    unsigned,
    'a stranger poses as the publisher',
  );
  t.throws(() => verifyManifest({ ...signed, body: signed.body.replace('"size":3', '"size":4') }, publisher, verify), unsigned, 'altered');
  for (const signature of ['', 'AAAA', 'A'.repeat(86), '!'.repeat(86)])
    t.throws(() => verifyManifest({ ...signed, signature }, publisher, verify), unsigned, `signature ${signature.slice(0, 4)}`);
  t.throws(() => verifyManifest({ ...signed, publisher: 'short' }, 'short', verify), unsigned, 'a key that is none');
  t.throws(
    () => verifyManifest({ ...signed, signature: Buffer.from(sign(Buffer.from(signed.body))).toString('base64url') }, publisher, verify),
    unsigned,
    'a signature over the body alone could be one over something else',
  );
  t.throws(
    () => verifyManifest({ body: 'not JSON', signature: 'A'.repeat(86), publisher }, publisher, verify),
    unsigned,
    'the signature is looked at before the content',
  );
});

t.test('only well-formed manifests are understood', async (t) => {
  const invalid = 'manifest-invalid';
  for (const text of ['', '[]', 'null', '{', '{}', ' {}', JSON.stringify(base), `${'['.repeat(100_000)}${']'.repeat(100_000)}`])
    t.throws(() => parseManifest(text), { code: invalid }, text.slice(0, 20));
  t.throws(() => parseManifest(canonicalJson(base).replace('"format":1', '"format":1,"format":1')), { code: invalid }, 'a key twice');
  t.throws(() => parseManifest(`"${'x'.repeat(9 * 1024 * 1024)}"`), { code: invalid }, 'far too long');

  assertRefused(t, { ...base, format: 2 }, invalid, 'a format from the future');
  assertRefused(t, { ...base, surprise: 1 }, invalid, 'a field that nobody knows');
  assertRefused(t, { ...base, version: 0 }, invalid, 'version 0');
  assertRefused(t, { ...base, channel: '' }, invalid, 'no channel');
  assertRefused(t, { ...base, runner: 'a runner' }, invalid, 'no name for a runner');
  assertRefused(t, { ...base, entry: 'gone.js' }, invalid, 'an entry that is not there');
  const file = { path: 'task.js', sha256: hash, size: 3, mode: 0o644 };
  const withFile = (change: object) => ({ ...base, files: [{ ...file, ...change }] });
  assertRefused(t, withFile({ sha256: hash.toUpperCase() }), invalid, 'a hash in capitals');
  assertRefused(t, withFile({ sha256: '../../etc/passwd' }), invalid, 'a path for a hash');
  assertRefused(t, withFile({ size: -1 }), invalid, 'a negative size');
  for (const mode of [0o777, 0o4755, 0o666, 0]) assertRefused(t, withFile({ mode }), invalid, `mode ${mode.toString(8)}`);
  assertRefused(t, withFile({ size: 64 * 1024 * 1024 }), invalid, 'one blob that fills the memory');
  assertRefused(t, withFile({ size: 0 }), invalid, 'an empty file with the hash of another');
  assertRefused(t, withFile({ chunks: [{ sha256: hash, size: 3 }] }), invalid, 'a hash that is not of the chunks');
  assertRefused(t, withFile({ chunks: [] }), invalid, 'no chunks');
  assertRefused(t, withFile({ chunks: [{ sha256: hash, size: 2 }] }), invalid, 'chunks that do not add up');
  assertRefused(t, withFile({ size: 0, chunks: [{ sha256: hash, size: 0 }] }), invalid, 'an empty chunk');
  assertRefused(t, { ...base, files: [file, { ...file, path: 'b.js', size: 4 }] }, invalid, 'one hash, two sizes');
  assertRefused(t, { ...base, dependencies: { packageJson: '{}', lock: '../lock' } }, invalid, 'a lockfile that is no blob');

  assertRefused(
    t,
    { ...base, files: [{ ...file, size: 1024 ** 4, chunks: [{ sha256: hash, size: 1 }] }] },
    'asset-too-large',
    'a terabyte',
  );
  const many = Array.from({ length: 10_001 }, (_, i) => ({ ...file, path: `${i}.js` }));
  assertRefused(t, { ...base, entry: '0.js', files: many }, 'asset-too-large', 'ten thousand and one files');
});

t.test('whatever is sent, it is understood or refused (seeded)', async (t) => {
  let state = 20_260;
  const random = (below: number) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state % below;
  };
  const odd = [
    null,
    -1,
    Number.POSITIVE_INFINITY,
    2 ** 53,
    '',
    '../x',
    '\0',
    [],
    {},
    [[]],
    true,
    'task.js',
    'ab'.repeat(32),
    { __proto__: { x: 1 } },
  ];
  const mutate = (value: unknown): unknown => {
    if (random(12) === 0) return odd[random(odd.length)];
    if (Array.isArray(value)) return random(6) === 0 ? [...value, ...value] : value.map(mutate);
    if (typeof value !== 'object' || value === null) return value;
    const members = Object.entries(value).filter(() => random(20) !== 0);
    return Object.fromEntries(members.map(([key, member]) => [random(30) === 0 ? '__proto__' : key, mutate(member)]));
  };
  let understood = 0;
  for (let i = 0; i < 3_000; i++) {
    let text: string;
    try {
      text = canonicalJson(mutate(base) as Manifest);
    } catch {
      continue;
    }
    if (random(4) === 0) text = text.slice(0, random(text.length)) + String.fromCharCode(random(256)) + text.slice(random(text.length));
    try {
      parseManifest(text);
      understood += 1;
    } catch (error) {
      if (!(error instanceof PeerworkError)) return void t.fail('not a refusal', { error, text });
    }
  }
  t.ok(understood > 0 && understood < 3_000, `${understood} of 3000 understood`);
  t.equal(({} as { x?: number }).x, undefined);
});

t.test('paths that mean the same file everywhere', async (t) => {
  const good = [
    'task.js',
    'lib/a.js',
    'lib/b/c.txt',
    'ünïcode/日本.txt',
    '.hidden',
    'a b/c-d_e+f,g@h.js',
    'console.js',
    'auxiliary/x',
    'a'.repeat(240),
    'lib/node_modules/x.js',
  ];
  t.doesNotThrow(() => checkAssetPaths(good));

  const bad = [
    '',
    '.',
    '..',
    '/',
    '/etc/passwd',
    '../escaped/task.js',
    'a/../../b',
    'a/./b',
    'a//b',
    'a/',
    './a',
    '/../escaped/task.js',
    'a\\b',
    '..\\b',
    '\\\\server\\share',
    'C:\\x',
    'C:/x',
    'c:x',
    'file.txt:stream',
    'a\0b',
    'a\nb',
    'a\x1b[31m',
    'a\x7f',
    'a\u0085b',
    'a\u2028b',
    'con',
    'CON',
    'con.txt',
    'Nul',
    'lib/aux.js',
    'COM1',
    'lpt9.log',
    'com¹',
    'CONIN$',
    'a.',
    'a ',
    'a./b',
    'a /b',
    ' a',
    '...',
    'lib/. ',
    'e\u0301.js',
    'A\u030a',
    '\u212b.js',
    'a\u200db',
    'g\u200cit',
    'a\u202etxt.exe',
    '\ufeffa',
    'a\ud800',
    'a*b',
    'a?b',
    'a<b',
    'a|b',
    'a"b',
    'node_modules/x/index.js',
    'Node_Modules/x.js',
    'node_modules',
    'a'.repeat(241),
    'é'.repeat(121),
    `${'a/'.repeat(40)}b`,
    `${'abcdefghi/'.repeat(60)}c`,
  ];
  for (const path of bad)
    t.throws(() => checkAssetPaths([path]), { code: 'asset-path-unsafe' }, encodeURI(path.slice(0, 40).replace(/\p{Cs}/u, 'surrogate')));

  const together = [
    ['a.js', 'a.js'],
    ['a.js', 'A.js'],
    ['lib/a.js', 'LIB/b.js'],
    ['straße', 'STRASSE'],
    ['ſ', 's'],
    ['é', 'É'],
    ['Σ', 'ς'],
    ['lib', 'lib/a.js'],
    ['lib/a.js', 'lib'],
    ['LIB', 'lib/a.js'],
    ['a/b/c', 'a/B'],
  ];
  for (const paths of together) {
    t.throws(() => checkAssetPaths(paths), { code: 'asset-path-unsafe' }, paths.join(' beside '));
    assertRefused(
      t,
      { ...base, entry: paths[0], files: paths.map((path) => ({ path, sha256: hash, size: 3, mode: 0o644 })) },
      'asset-path-unsafe',
      paths.join(' in one manifest with '),
    );
  }
  t.throws(() => checkAssetPaths(['a\u202e\x1b[2Jb']), /^[^\p{Cc}\p{Cf}]*$/u, 'the refusal itself is safe to print');
});
