import { constants } from 'node:fs';
import { access, copyFile, mkdir, mkdtemp, realpath, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { CommandLine } from '../../containers/command-line.js';
import { findProgram } from '../../containers/find-engine.js';
import { PeerworkError } from '../../errors.js';
import { removeTree } from '../../kit/remove-tree.js';

const PACK_MS = 120_000;
/** glibc loads these by name when it resolves hosts, so `ldd` does not list them; from 2.34 on they are built in. */
const LOADED_LATER = ['libnss_files.so.2', 'libnss_dns.so.2', 'libresolv.so.2'];

/**
 * Packs this machine's own Node and its libraries into the tar of a complete file system: a base for images that needs no registry, on
 * any Linux. About 100 MB. Passes the path of the tar to `use`, and removes it afterwards.
 */
export async function packNode<T>(environment: NodeJS.ProcessEnv, use: (tar: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'peerwork-pack-'));
  try {
    const root = join(folder, 'root');
    for (const name of ['bin', 'etc', 'tmp', 'proc', 'sys', 'dev', 'run']) await mkdir(join(root, name), { recursive: true });
    await writeFile(join(root, 'etc/passwd'), 'root:x:0:0::/:/bin/false\nnode:x:1000:1000::/tmp:/bin/false\n');
    await writeFile(join(root, 'etc/group'), 'root:x:0:\nnode:x:1000:\n');
    await writeFile(join(root, 'etc/nsswitch.conf'), 'hosts: files dns\n');
    await copyFile(await realpath(process.execPath), join(root, 'bin/node'), constants.COPYFILE_FICLONE);
    for (const library of await librariesOf(process.execPath, environment)) {
      await mkdir(join(root, dirname(library)), { recursive: true });
      await copyFile(await realpath(library), join(root, library), constants.COPYFILE_FICLONE);
    }
    const tar = join(folder, 'root.tar');
    await program('tar', environment).run(['-C', root, '--owner=0', '--group=0', '-cf', tar, '.'], { timeoutMs: PACK_MS });
    return await use(tar);
  } finally {
    await removeTree(folder);
  }
}

async function librariesOf(file: string, environment: NodeJS.ProcessEnv): Promise<ReadonlySet<string>> {
  const listed = await program('ldd', environment).run([file]);
  // `libc.so.6 => /lib/…/libc.so.6 (0x…)` or `/lib64/ld-linux-x86-64.so.2 (0x…)`
  const libraries = [...listed.matchAll(/(?:=> |^\s*)(\/\S+) \(/gm)].map(([, path = '']) => path);
  const libc = libraries.find((path) => basename(path).startsWith('libc.so'));
  const later = libc === undefined ? [] : LOADED_LATER.map((name) => join(dirname(libc), name));
  const present = await Promise.all(
    [...libraries, ...later].map((path) =>
      access(path).then(
        () => [path],
        () => [],
      ),
    ),
  );
  return new Set(present.flat());
}

function program(name: string, environment: NodeJS.ProcessEnv): CommandLine {
  const path = findProgram(name, environment);
  if (path === undefined) throw new PeerworkError('image-unbuildable', `${name} is not installed`);
  return new CommandLine(path, environment);
}
