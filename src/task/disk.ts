import { randomBytes } from 'node:crypto';
import { chmod, type FileHandle, lstat, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PeerworkError } from '../errors.js';

/** Files counted in one look; a job with more has used its allowance. */
const MAX_COUNTED_FILES = 100_000;

/** The `code` of a system error; undefined for everything else. */
export function systemCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

export function isMissing(error: unknown): boolean {
  const code = systemCode(error);
  return code === 'ENOENT' || code === 'ENOTDIR';
}

/** A full disk or an exhausted quota of the user as `disk-full`; anything else unchanged. */
export function diskError(error: unknown): unknown {
  const code = systemCode(error);
  if (code !== 'ENOSPC' && code !== 'EDQUOT') return error;
  return new PeerworkError('disk-full', (error as Error).message, { cause: error });
}

/** A name for something unfinished. The process id lets a later process tell whether its maker still lives. */
export function unfinishedName(prefix: string): string {
  return `${prefix}.${process.pid}.${randomBytes(6).toString('hex')}`;
}

/** Whether the maker of such a name is gone. Not sure across containers that share the folder: only delete or copy on its word. */
export function isAbandoned(name: string): boolean {
  const pid = Number(/\.(\d+)\.[0-9a-f]{12}$/.exec(name)?.[1]);
  if (!Number.isSafeInteger(pid) || pid <= 0 || pid === process.pid) return false;
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return systemCode(error) === 'ESRCH';
  }
}

/** Replaces the file as a whole: a reader, or a crash, sees the old or the new one. */
export async function writeWhole(file: string, content: string | Uint8Array, mode = 0o600): Promise<void> {
  const unfinished = unfinishedName(file);
  try {
    await writeFile(unfinished, content, { flag: 'wx', mode });
    await rename(unfinished, file);
  } catch (error) {
    await rm(unfinished, { force: true });
    throw diskError(error);
  }
}

/** Removes a folder even where a task or an installer has taken the write permission from its folders. Never follows links. */
export async function removeTree(path: string): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true, maxRetries: 3 });
  } catch (error) {
    const code = systemCode(error);
    if (code !== 'EACCES' && code !== 'EPERM') throw error;
    await makeWritable(path);
    await rm(path, { recursive: true, force: true });
  }
}

async function makeWritable(path: string): Promise<void> {
  if (!(await lstat(path)).isDirectory()) return;
  await chmod(path, 0o700);
  for (const entry of await readdir(path, { withFileTypes: true })) if (entry.isDirectory()) await makeWritable(join(path, entry.name));
}

/** Takes the folder's name away at once, so that nobody sees it half removed, then removes it. */
export async function removeAtOnce(path: string): Promise<void> {
  const leaving = unfinishedName(path);
  try {
    await rename(path, leaving);
  } catch (error) {
    if (isMissing(error)) return;
    throw error;
  }
  await removeTree(leaving);
}

/** Removes what killed processes left unfinished in the folder. */
export async function sweepAbandoned(folder: string): Promise<void> {
  for (const name of await readdir(folder)) if (isAbandoned(name)) await removeTree(join(folder, name));
}

/** What the files below a folder take. Stops counting once it is more than `enough`; too many files are infinitely much. */
export async function bytesBelow(folder: string, enough: number): Promise<number> {
  const folders = [folder];
  let bytes = 0;
  let files = 0;
  for (let next = folders.pop(); next !== undefined; next = folders.pop()) {
    for (const entry of await readdir(next, { withFileTypes: true }).catch(() => [])) {
      files += 1;
      if (files > MAX_COUNTED_FILES) return Number.POSITIVE_INFINITY;
      const path = join(next, entry.name);
      if (entry.isDirectory()) folders.push(path);
      else if (entry.isFile()) bytes += (await stat(path).catch(() => undefined))?.size ?? 0;
      if (bytes > enough) return bytes;
    }
  }
  return bytes;
}

export async function writeAll(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length; ) at += (await handle.write(bytes, at, bytes.length - at)).bytesWritten;
}
