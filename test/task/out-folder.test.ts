import { execFileSync } from 'node:child_process';
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { openOutFolder } from '../../src/task/out-folder.js';
import { temporaryFolder } from '../ledger/engines.js';

async function read(folder: string, onFile: (name: string) => void = () => {}): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for await (const { name, handle } of openOutFolder(folder)) {
    found[name] = await handle.readFile('utf8');
    onFile(name);
  }
  return found;
}

t.test('ordinary files by their paths in the folder', async (t) => {
  const folder = temporaryFolder(t);
  mkdirSync(join(folder, 'sub', 'deep'), { recursive: true });
  writeFileSync(join(folder, 'a.txt'), 'a');
  writeFileSync(join(folder, 'sub', 'deep', 'b.txt'), 'b');
  t.strictSame(await read(folder), { 'a.txt': 'a', 'sub/deep/b.txt': 'b' });
});

t.test('links, sockets, pipes and names that others cannot store are refused, and never read', async (t) => {
  const secret = join(temporaryFolder(t), 'secret');
  writeFileSync(secret, 'secret');
  const bad: Record<string, (folder: string) => unknown> = {
    'a link to a file': (folder) => symlinkSync(secret, join(folder, 'x')),
    'a link to a folder': (folder) => symlinkSync('/etc', join(folder, 'x')),
    'a pipe': (folder) => execFileSync('mkfifo', [join(folder, 'x')]),
    'a socket': (folder) =>
      new Promise<void>((resolve) => {
        const server = createServer().listen(join(folder, 'x'), resolve);
        t.teardown(() => server.close());
      }),
    'a name': (folder) => writeFileSync(join(folder, 'a:b'), ''),
    'two names that differ in case': (folder) => ['n', 'N'].map((name) => writeFileSync(join(folder, name), '')),
    'too deep': (folder) => mkdirSync(join(folder, ...Array.from({ length: 40 }, () => 'd')), { recursive: true }),
    'too many': (folder) => Array.from({ length: 1_001 }, (_, n) => writeFileSync(join(folder, `f${n}`), '')),
  };
  for (const [what, make] of Object.entries(bad)) {
    const folder = temporaryFolder(t);
    await make(folder);
    await t.rejects(read(folder), { code: 'files-invalid' }, what);
  }
  const folder = temporaryFolder(t);
  symlinkSync('/etc', join(folder, 'link'));
  await t.rejects(read(join(folder, 'link')), { code: 'files-invalid' }, 'the folder itself');
});

t.test('a folder that is replaced by a link while it is read leads nowhere', { skip: process.platform !== 'linux' }, async (t) => {
  const folder = temporaryFolder(t);
  const outside = temporaryFolder(t);
  mkdirSync(join(folder, 'sub'));
  for (const name of ['1', '2', '3']) {
    writeFileSync(join(folder, 'sub', name), 'inside');
    writeFileSync(join(outside, name), 'secret');
  }
  let replaced = false;
  const found = await read(folder, () => {
    if (replaced) return;
    replaced = true;
    renameSync(join(folder, 'sub'), join(folder, '..', `${Date.now()}-moved`));
    symlinkSync(outside, join(folder, 'sub'));
    t.teardown(() => rmSync(join(folder, 'sub'), { force: true }));
  });
  t.same(new Set(Object.values(found)), new Set(['inside']));
});
