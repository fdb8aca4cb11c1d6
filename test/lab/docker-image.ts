import { copyFileSync, existsSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { execa } from 'execa';
import { findTool } from './require.js';

/** What the shell of a test image can call. */
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
  /** Lines as of a Dockerfile, such as `LABEL name=value`. */
  readonly changes?: readonly string[];
}

/** Makes an image of programs of this machine and the libraries that they need, without any registry; about a second for Node's 100 MB. */
export async function importImage(name: string, contents: ImageContents, environment: Readonly<Record<string, string>>): Promise<string> {
  const stage = mkdtempSync(join(tmpdir(), 'peerwork-image-'));
  try {
    for (const folder of ['bin', 'etc', 'tmp', 'work', 'proc', 'sys', 'dev']) mkdirSync(join(stage, folder));
    writeFileSync(join(stage, 'etc/passwd'), 'root:x:0:0::/:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n');
    writeFileSync(join(stage, 'etc/group'), 'root:x:0:\nuser:x:1000:\n');
    writeFileSync(join(stage, 'etc/nsswitch.conf'), 'hosts: files dns\n');
    const programs = contents.sh ? smallPrograms.map((program) => [program, findTool(program)] as const) : [];
    const all = contents.node ? [...programs, ['node', process.execPath] as const] : programs;
    const libraries = new Set<string>();
    for (const [program, path] of all) {
      if (path === undefined) throw new Error(`${program} is not on this machine`);
      copyFileSync(realpathSync(path), join(stage, 'bin', program));
      for (const library of await librariesOf(path)) libraries.add(library);
    }
    for (const library of libraries) {
      mkdirSync(join(stage, dirname(library)), { recursive: true });
      copyFileSync(realpathSync(library), join(stage, library));
    }
    const changes = ['ENV PATH=/bin', ...(contents.changes ?? [])];
    const tar = execa('tar', ['-C', stage, '--owner=0', '--group=0', '-c', '.'], { encoding: 'buffer', buffer: false });
    await tar.pipe('docker', ['import', ...changes.flatMap((change) => ['--change', change]), '-', name], { env: { ...environment } });
    return name;
  } finally {
    rmSync(stage, { recursive: true, force: true });
  }
}

async function librariesOf(program: string): Promise<string[]> {
  const { stdout } = await execa('ldd', [program]);
  // `libc.so.6 => /lib/…/libc.so.6 (0x…)` or `/lib64/ld-linux-x86-64.so.2 (0x…)`
  return [...stdout.matchAll(/(?:=> |^\s*)(\/\S+) \(/gm)].map(([, path = '']) => path).filter((path) => existsSync(path));
}
