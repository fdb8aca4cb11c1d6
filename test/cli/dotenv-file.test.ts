import { lstatSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'dotenv';
import t from 'tap';
import { setVariables, writeDotenv } from '../../src/cli/dotenv-file.js';
import { readDotenv } from '../../src/cli/options.js';

t.test('a file that is not UTF-8 is refused, and left as it is', async (t) => {
  const file = join(t.testdir(), '.env');
  for (const [bytes, why] of [
    [Buffer.from('\ufefftoken=pw1.x\n', 'utf16le'), /it is UTF-16: save it as UTF-8/],
    [Buffer.from('name=caf\u00e9\n', 'latin1'), /not UTF-8: byte 0xe9 at offset 8/],
  ] as const) {
    writeFileSync(file, bytes);
    await t.rejects(readDotenv(file), { code: 'option-invalid', message: why });
    await t.rejects(writeDotenv(file, { token: 'pw1.y' }), { code: 'option-invalid', message: why });
    t.same(readFileSync(file), bytes);
  }
  writeFileSync(file, '\ufefftoken=pw1.x\n');
  t.same(await readDotenv(file), { token: 'pw1.x' }, 'a mark at the beginning is passed over');
});

t.test('a variable is replaced where it stands, new ones come at the end, all else stays', async (t) => {
  const before = [
    '# mine',
    'DATABASE_URL="postgres://a:b@c/d#e" # keep',
    '',
    'export token=pw1.old # from Ann',
    'CERT="-----BEGIN',
    'token=inside a value',
    '-----END"',
    "  name = 'old name'",
    '#token=pw1.commented',
    'LAST=1',
  ].join('\n');
  const after = setVariables(before, { token: 'pw1.new', name: 'attic pi', PEERWORK_CONCURRENCY: '2' });
  t.equal(
    after,
    [
      '# mine',
      'DATABASE_URL="postgres://a:b@c/d#e" # keep',
      '',
      'token=pw1.new',
      'CERT="-----BEGIN',
      'token=inside a value',
      '-----END"',
      "name='attic pi'",
      '#token=pw1.commented',
      'LAST=1',
      'PEERWORK_CONCURRENCY=2',
      '',
    ].join('\n'),
  );
  t.equal(setVariables(after, { token: 'pw1.new', name: 'attic pi', PEERWORK_CONCURRENCY: '2' }), after, 'a second time changes nothing');
});

t.test('of several assignments one remains, because dotenv takes the last', async (t) => {
  t.equal(setVariables('token=a\nX=1\ntoken=b\n', { token: 'c' }), 'token=c\nX=1\n');
  t.equal(setVariables('token=a\nX=1\n', { token: undefined }), 'X=1\n');
});

t.test('Windows line ends and a missing last line end do no harm', async (t) => {
  t.equal(setVariables('A=1\r\ntoken=x\r\nB=2', { token: 'y' }), 'A=1\r\ntoken=y\r\nB=2\n');
});

t.test('what is written is what dotenv reads, whatever the characters', async (t) => {
  const values = [
    'plain',
    'two words',
    'with # hash',
    "it's",
    'say "hi"',
    'a=b',
    '$HOME',
    'back\\slash',
    'ünïcode 名前',
    'both \' and "',
    'x`y',
    '12%',
  ];
  for (const value of values) t.equal(parse(setVariables('A=1\n', { name: value }))['name'], value, value);
  t.throws(() => setVariables('', { name: `' " \`` }), { code: 'option-invalid' });
});

t.test('the file is readable by its owner only, from the first moment and also if it was not', async (t) => {
  const dir = t.testdir();
  const file = join(dir, '.env');
  await writeDotenv(file, { token: 'pw1.a' });
  t.equal(statSync(file).mode & 0o777, 0o600);
  writeFileSync(join(dir, 'open.env'), 'OTHER=1\n', { mode: 0o644 });
  await writeDotenv(join(dir, 'open.env'), { token: 'pw1.a' });
  t.equal(statSync(join(dir, 'open.env')).mode & 0o777, 0o600);
  t.equal(readFileSync(join(dir, 'open.env'), 'utf8'), 'OTHER=1\ntoken=pw1.a\n');
  t.same(readdirSync(dir).sort(), ['.env', 'open.env'], 'no draft is left');
});

t.test('a link is followed, not replaced', async (t) => {
  const dir = t.testdir({ real: 'A=1\n' });
  symlinkSync('real', join(dir, '.env'));
  await writeDotenv(join(dir, '.env'), { name: 'x' });
  t.ok(lstatSync(join(dir, '.env')).isSymbolicLink());
  t.equal(readFileSync(join(dir, 'real'), 'utf8'), 'A=1\nname=x\n');
});

t.test('a folder that cannot be written to is named', async (t) => {
  await t.rejects(writeDotenv(join(t.testdir(), 'missing', '.env'), { name: 'x' }), { code: 'option-invalid', message: /missing/ });
});
