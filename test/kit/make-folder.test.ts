import { existsSync, mkdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { makeFolder } from '../../src/kit/make-folder.js';

t.test('a folder is made with those above it, once or again, also through a link', (t) => {
  const folder = t.testdir();
  makeFolder(join(folder, 'a', 'b', 'c'), 0o700);
  makeFolder(join(folder, 'a', 'b', 'c'));
  t.equal(statSync(join(folder, 'a', 'b')).mode & 0o777, 0o700);
  mkdirSync(join(folder, 'far'));
  symlinkSync(join(folder, 'far'), join(folder, 'link'));
  makeFolder(join(folder, 'link'));
  makeFolder(join(folder, 'link', 'd'));
  t.ok(existsSync(join(folder, 'far', 'd')));
  makeFolder('/');
  t.end();
});

t.test('what cannot be made is refused, and at once', (t) => {
  const folder = t.testdir();
  writeFileSync(join(folder, 'file'), '');
  t.throws(() => makeFolder(join(folder, 'file')), { code: 'EEXIST' });
  t.throws(() => makeFolder(join(folder, 'file', 'below')), { code: 'ENOTDIR' });
  symlinkSync(join(folder, 'nowhere'), join(folder, 'dangling'));
  t.throws(() => makeFolder(join(folder, 'dangling')), { code: 'EEXIST' });
  if (process.platform === 'linux') t.throws(() => makeFolder('/proc/none/of/it'), { code: 'ENOENT' }, 'Node’s own never ends here');
  t.end();
});
