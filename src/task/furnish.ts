import { constants } from 'node:fs';
import { lstat, mkdir, open, readdir, readlink, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join, sep } from 'node:path';
import { PeerworkError } from '../errors.js';
import { Deadline } from '../kit/deadline.js';
import { foldPath } from '../kit/portable-path.js';
import { isMissing } from '../kit/system-error.js';
import { writeAll } from '../kit/whole-file.js';
import { blobsOf, type Manifest, type ManifestFile } from './manifest.js';

/** All files get the same modification time (2001-09-09), so that a file modified later is detected by its time alone. */
const FILE_TIME_S = 1_000_000_000;
const FILES_AT_ONCE = 4;
/** Written where the task has none: Node would otherwise look for `type` in the parent folders, which do not belong to the task. */
const OWN_PACKAGE_JSON = '{}\n';

export interface Furnishing {
  /** A new, empty folder that nobody else writes to. */
  readonly folder: string;
  readonly manifest: Manifest;
  /** Resolves to a blob's verified bytes as soon as they have arrived. */
  readonly bytes: (sha256: string) => Promise<Uint8Array>;
  readonly signal: AbortSignal;
}

/** Writes the files of a verified manifest. Each file matches the manifest because each of its pieces was verified. */
export async function furnish({ folder, manifest, bytes, signal }: Furnishing): Promise<void> {
  const queue = manifest.files.values();
  const createdFolders = new Set<string>([folder]);
  const deadline = new Deadline({ signals: [signal] });
  const write = async () => {
    for (const file of queue) {
      deadline.signal.throwIfAborted();
      const path = join(folder, ...file.path.split('/'));
      if (!path.startsWith(folder + sep)) throw new PeerworkError('asset-path-unsafe', file.path); // already checked when the manifest was parsed; a second line of defence
      const parent = dirname(path);
      if (!createdFolders.has(parent)) {
        await mkdir(parent, { recursive: true, mode: 0o755 });
        createdFolders.add(parent);
      }
      await writeAsset(path, file, bytes);
    }
  };
  // All must have ended before the caller can remove the folder.
  await Promise.allSettled(Array.from({ length: FILES_AT_ONCE }, () => write().catch((error: unknown) => deadline.abort(error))));
  deadline.end();
  deadline.signal.throwIfAborted();
  if (needsPackageJson(manifest)) await writeFile(join(folder, 'package.json'), OWN_PACKAGE_JSON, { flag: 'wx', mode: 0o444 });
}

/** Links `node_modules` to the layer; replaces an old link, for example one made under another version of Node. */
export async function linkDependencies(folder: string, nodeModules: string): Promise<void> {
  const link = join(folder, 'node_modules');
  if ((await readlink(link).catch(() => undefined)) === nodeModules) return;
  await rm(link, { force: true });
  await symlink(nodeModules, link, process.platform === 'win32' ? 'junction' : 'dir');
}

/** Returns whether the folder contains exactly the files of the manifest, unmodified. */
export async function isFurnished(folder: string, manifest: Manifest): Promise<boolean> {
  const expected = new Map(manifest.files.map((file) => [file.path, file.size]));
  if (needsPackageJson(manifest)) expected.set('package.json', OWN_PACKAGE_JSON.length);
  const matches = async (prefix: string): Promise<boolean> => {
    for (const entry of await readdir(join(folder, prefix), { withFileTypes: true })) {
      const path = prefix + entry.name.normalize('NFC');
      if (entry.isDirectory()) {
        if (!(await matches(`${path}/`))) return false;
        continue;
      }
      if (path === 'node_modules' && entry.isSymbolicLink() && manifest.dependencies !== null) continue;
      if (!entry.isFile()) return false;
      const { size, mtimeMs } = await lstat(join(folder, path));
      const isOwn = path === 'package.json' && needsPackageJson(manifest);
      if (expected.get(path) !== size || (!isOwn && mtimeMs !== FILE_TIME_S * 1_000)) return false;
      expected.delete(path);
    }
    return true;
  };
  try {
    return (await matches('')) && expected.size === 0;
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}

function needsPackageJson({ files }: Manifest): boolean {
  return !files.some(({ path }) => foldPath(path) === 'package.json');
}

async function writeAsset(path: string, file: ManifestFile, bytes: Furnishing['bytes']): Promise<void> {
  // O_EXCL: never follows a link, never overwrites an existing file.
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | (constants.O_NOFOLLOW ?? 0);
  const handle = await open(path, flags, 0o600);
  try {
    for (const { sha256 } of blobsOf(file)) await writeAll(handle, await bytes(sha256));
    // Readable for all, because the runner may use another user; writable for none, to guard against accidents.
    await handle.chmod(file.mode & 0o555);
    await handle.utimes(FILE_TIME_S, FILE_TIME_S);
  } finally {
    await handle.close();
  }
}
