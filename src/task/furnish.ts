import { constants } from 'node:fs';
import { lstat, mkdir, open, readdir, readlink, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join, sep } from 'node:path';
import { PeerworkError } from '../errors.js';
import { Deadline } from '../kit/deadline.js';
import { foldPath } from '../kit/portable-path.js';
import { isMissing } from '../kit/system-error.js';
import { writeAll } from '../kit/whole-file.js';
import { blobsOf, type Manifest, type ManifestFile } from './manifest.js';

/** All files get the same time, so that a file that was written to later can be told at a glance (2001-09-09). */
const FILE_TIME_S = 1_000_000_000;
const FILES_AT_ONCE = 4;
/** Made by us where the task has none: Node would otherwise look for `type` in the folders above, which are not the task's. */
const OWN_PACKAGE_JSON = '{}\n';

export interface Furnishing {
  /** Fresh and empty, nobody else writes into it. */
  readonly folder: string;
  readonly manifest: Manifest;
  /** Resolves to a blob's bytes, verified, as soon as they are there. */
  readonly bytes: (sha256: string) => Promise<Uint8Array>;
  readonly signal: AbortSignal;
}

/** Writes the files of a manifest that has been checked. Each is what the manifest says because each of its pieces is. */
export async function furnish({ folder, manifest, bytes, signal }: Furnishing): Promise<void> {
  const waiting = manifest.files.values();
  const made = new Set<string>([folder]);
  const either = new Deadline({ signals: [signal] });
  const write = async () => {
    for (const file of waiting) {
      either.signal.throwIfAborted();
      const path = join(folder, ...file.path.split('/'));
      if (!path.startsWith(folder + sep)) throw new PeerworkError('asset-path-unsafe', file.path); // checked before; a second lock on the door
      const parent = dirname(path);
      if (!made.has(parent)) {
        await mkdir(parent, { recursive: true, mode: 0o755 });
        made.add(parent);
      }
      await writeAsset(path, file, bytes);
    }
  };
  // All must have ended before the caller may remove the folder.
  await Promise.allSettled(Array.from({ length: FILES_AT_ONCE }, () => write().catch((error: unknown) => either.abort(error))));
  either.end();
  either.signal.throwIfAborted();
  if (needsPackageJson(manifest)) await writeFile(join(folder, 'package.json'), OWN_PACKAGE_JSON, { flag: 'wx', mode: 0o444 });
}

/** Makes `node_modules` lead to the layer; an old link, made under another version of Node say, is replaced. */
export async function linkDependencies(folder: string, nodeModules: string): Promise<void> {
  const link = join(folder, 'node_modules');
  if ((await readlink(link).catch(() => undefined)) === nodeModules) return;
  await rm(link, { force: true });
  await symlink(nodeModules, link, process.platform === 'win32' ? 'junction' : 'dir');
}

/** Whether the folder holds the files of the manifest as they were written, and nothing else. */
export async function isFurnished(folder: string, manifest: Manifest): Promise<boolean> {
  const expected = new Map(manifest.files.map((file) => [file.path, file.size]));
  if (needsPackageJson(manifest)) expected.set('package.json', OWN_PACKAGE_JSON.length);
  const look = async (prefix: string): Promise<boolean> => {
    for (const entry of await readdir(join(folder, prefix), { withFileTypes: true })) {
      const path = prefix + entry.name.normalize('NFC');
      if (entry.isDirectory()) {
        if (!(await look(`${path}/`))) return false;
        continue;
      }
      if (path === 'node_modules' && entry.isSymbolicLink() && manifest.dependencies !== null) continue;
      if (!entry.isFile()) return false;
      const { size, mtimeMs } = await lstat(join(folder, path));
      const ours = path === 'package.json' && needsPackageJson(manifest);
      if (expected.get(path) !== size || (!ours && mtimeMs !== FILE_TIME_S * 1_000)) return false;
      expected.delete(path);
    }
    return true;
  };
  try {
    return (await look('')) && expected.size === 0;
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}

function needsPackageJson({ files }: Manifest): boolean {
  return !files.some(({ path }) => foldPath(path) === 'package.json');
}

async function writeAsset(path: string, file: ManifestFile, bytes: Furnishing['bytes']): Promise<void> {
  // O_EXCL: never through a link, never over something that is there.
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | (constants.O_NOFOLLOW ?? 0);
  const handle = await open(path, flags, 0o600);
  try {
    for (const { sha256 } of blobsOf(file)) await writeAll(handle, await bytes(sha256));
    // Readable for all: the runner may use another user. Writable for none, against accidents.
    await handle.chmod(file.mode & 0o555);
    await handle.utimes(FILE_TIME_S, FILE_TIME_S);
  } finally {
    await handle.close();
  }
}
