import t from 'tap';
import { checkJobInput } from '../../src/job/job-input.js';

const file = { sha256: 'ab'.repeat(32), size: 3 };
const filesOf = (files: unknown) => checkJobInput({ data: 1, files }).files;

t.test('files by name: relative paths, each content by its hash', async (t) => {
  t.strictSame(filesOf({ 'a.txt': file, 'in/b.txt': file, constructor: file }), { 'a.txt': file, 'in/b.txt': file, constructor: file });
  t.strictSame(filesOf({}), {});
  t.equal(checkJobInput({ data: 1 }).files, undefined);
});

t.test('what no system could store, or two of them would take for one, is refused with its name', async (t) => {
  for (const name of ['', '..', '../a', 'a/../b', '/etc/passwd', 'a//b', 'C:a', 'nul', 'a\\b', 'a\n', 'x '.repeat(1), 'é'.normalize('NFD')])
    t.throws(() => filesOf({ [name]: file }), { code: 'job-invalid', message: /files cannot have the name/ }, JSON.stringify(name));
  t.throws(() => filesOf({ 'a.txt': file, 'A.TXT': file }), { message: /cannot be distinguished/ });
  t.throws(() => filesOf({ a: file, 'a/b': file }), { message: /"a" is a file/ });
});

t.test('a reference has a hash and a size, and nothing else', async (t) => {
  for (const [what, said] of [
    [{ ...file, sha256: 'AB'.repeat(32) }, /files\["a"\]\.sha256 is not a SHA-256/],
    [{ ...file, size: -1 }, /files\["a"\]\.size is not a number of bytes/],
    [{ ...file, size: 1.5 }, /size/],
    [{ ...file, more: 1 }, /files\["a"\]/],
    ['/etc/passwd', /files\["a"\] is not a file reference/],
    [null, /files\["a"\]/],
  ] as const)
    t.throws(() => filesOf({ a: what }), { code: 'job-invalid', message: said }, JSON.stringify(what));
  for (const files of [[], 'x', 1, null]) t.throws(() => filesOf(files), { message: /files is not an object/ });
  const many = Object.fromEntries(Array.from({ length: 1_001 }, (_, n) => [`f${n}`, file]));
  t.throws(() => filesOf(many), { message: /more than 1000 entries/ });
});
