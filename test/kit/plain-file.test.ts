import { execFileSync } from 'node:child_process';
import { chmod, mkdir, mkdtemp, symlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { readPlainFile } from '../../src/kit/plain-file.js';
import { removeFolder } from '../lab/remove-folder.js';

const onWindows = process.platform === 'win32' && 'Windows has no such files';

t.test('the beginning of a regular file, with its size', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'peerwork-plain-'));
  t.teardown(() => removeFolder(folder));
  const path = join(folder, 'file');
  await writeFile(path, 'abcdef');
  t.same(await readPlainFile(path, 100), { bytes: Buffer.from('abcdef'), size: 6 });
  t.same(await readPlainFile(path, 4), { bytes: Buffer.from('abcd'), size: 6 });
  await writeFile(path, '');
  t.same(await readPlainFile(path, 4), { bytes: Buffer.alloc(0), size: 0 });
  t.equal(await readPlainFile(join(folder, 'absent'), 4), undefined);
  t.equal(await readPlainFile(join(path, 'below'), 4), undefined);
  t.equal(await readPlainFile(folder, 4), undefined, 'a folder');
});

t.test('nothing else is read, nor waited for', { skip: onWindows }, async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'peerwork-plain-'));
  t.teardown(() => removeFolder(folder));
  const at = (name: string) => join(folder, name);
  await writeFile(at('file'), 'abc');
  await symlink(at('file'), at('link'));
  await symlink(at('loop'), at('loop'));
  await mkdir(at('folder'));
  execFileSync('mkfifo', [at('pipe')]);
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(at('socket'), resolve));
  t.teardown(() => server.close());
  for (const name of ['link', 'loop', 'folder', 'pipe', 'socket']) t.equal(await readPlainFile(at(name), 10), undefined, name);
  t.equal(await readPlainFile('/dev/zero', 10), undefined, 'a device');
  await chmod(at('file'), 0);
  const isRoot = process.getuid?.() === 0;
  t.equal((await readPlainFile(at('file'), 10))?.size, isRoot ? 3 : undefined, 'a file without permission, which only root may read');
});
