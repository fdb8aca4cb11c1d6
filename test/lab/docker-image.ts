import { chmodSync, chownSync, copyFileSync, existsSync, mkdirSync, mkdtempSync, realpathSync, writeFileSync } from 'node:fs';
import { cp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { execa } from 'execa';
import { removeFolder } from './remove-folder.js';
import { findTool } from './require.js';

/** Programs available to the shell of a test image. */
const smallPrograms = [
  'sh',
  'cat',
  'chmod',
  'cp',
  'date',
  'dd',
  'df',
  'env',
  'head',
  'id',
  'ln',
  'ls',
  'mkdir',
  'mv',
  'rm',
  'sleep',
  'stat',
  'tail',
  'touch',
  'tr',
  'wc',
];

export interface ImageContents {
  readonly sh?: boolean;
  readonly node?: boolean;
  /** Additional programs of this machine, by name. */
  readonly programs?: readonly string[];
  /** Files and folders of this machine: path in the image → source. Dependencies of programs and libraries among them are included. */
  readonly files?: Readonly<Record<string, string>>;
  /** Texts of files, by path. */
  readonly texts?: Readonly<Record<string, string>>;
  /** A folder owned by user 1000. */
  readonly homeOfUser?: string;
  /** A program in it that runs as its owner, root, whoever starts it. */
  readonly setuid?: string;
  /** Dockerfile lines, such as `LABEL name=value`. */
  readonly changes?: readonly string[];
}

/** Builds an image of programs of this machine and their libraries, without any registry; takes about a second for Node's 100 MB. */
export async function importImage(name: string, contents: ImageContents, environment: Readonly<Record<string, string>>): Promise<string> {
  const stage = mkdtempSync(join(tmpdir(), 'peerwork-image-'));
  try {
    for (const folder of ['bin', 'etc', 'tmp', 'work', 'proc', 'sys', 'dev']) mkdirSync(join(stage, folder));
    writeFileSync(join(stage, 'etc/passwd'), 'root:x:0:0::/:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n');
    writeFileSync(join(stage, 'etc/group'), 'root:x:0:\nuser:x:1000:\n');
    writeFileSync(join(stage, 'etc/nsswitch.conf'), 'hosts: files dns\n');
    const small = contents.sh ? smallPrograms.map((program) => [program, findTool(program)] as const) : [];
    const more = (contents.programs ?? []).map((program) => [program, findTool(program)] as const);
    const all = [...small, ...more, ...(contents.node ? [['node', process.execPath] as const] : [])];
    const libraries = new Set<string>();
    for (const [program, path] of all) {
      if (path === undefined) throw new Error(`${program} is not on this machine`);
      copyFileSync(realpathSync(path), join(stage, 'bin', program));
      for (const library of await librariesOf(path)) libraries.add(library);
    }
    for (const [target, source] of Object.entries(contents.files ?? {})) {
      await cp(source, join(stage, target), { recursive: true, dereference: true });
      for (const library of await librariesOf(source)) libraries.add(library);
    }
    for (const [path, text] of Object.entries(contents.texts ?? {})) {
      mkdirSync(join(stage, dirname(path)), { recursive: true });
      writeFileSync(join(stage, path), text);
    }
    if (contents.homeOfUser !== undefined) {
      mkdirSync(join(stage, contents.homeOfUser), { recursive: true });
      chownSync(join(stage, contents.homeOfUser), 1_000, 1_000);
    }
    for (const library of libraries) {
      mkdirSync(join(stage, dirname(library)), { recursive: true });
      copyFileSync(realpathSync(library), join(stage, library));
    }
    if (contents.setuid !== undefined) chmodSync(join(stage, 'bin', contents.setuid), 0o4755);
    chmodSync(join(stage, 'tmp'), 0o1777);
    chmodSync(stage, 0o755);
    const changes = ['ENV PATH=/bin', ...(contents.changes ?? [])];
    const tar = execa('tar', ['-C', stage, '--numeric-owner', '-c', '.'], { encoding: 'buffer', buffer: false });
    await tar.pipe('docker', ['import', ...changes.flatMap((change) => ['--change', change]), '-', name], { env: { ...environment } });
    return name;
  } finally {
    await removeFolder(stage);
  }
}

async function librariesOf(program: string): Promise<string[]> {
  // Fails for folders and text files, which have none.
  const { stdout } = await execa('ldd', [program], { reject: false });
  // `libc.so.6 => /lib/…/libc.so.6 (0x…)` or `/lib64/ld-linux-x86-64.so.2 (0x…)`
  return [...stdout.matchAll(/(?:=> |^\s*)(\/\S+) \(/gm)].map(([, path = '']) => path).filter((path) => existsSync(path));
}
