import type { Dirent } from 'node:fs';
import { lstat, opendir } from 'node:fs/promises';
import { isMissing } from './system-error.js';

/** Files counted in one scan; a job with more has used up its allowance. */
const MAX_COUNTED_FILES = 100_000;
const SLASH = Buffer.from('/');

/** Concurrent `lstat` calls: one at a time, a hundred thousand files take seconds, and the job may end meanwhile. */
const AT_ONCE = 64;

/**
 * Returns the total size of the files below a folder, and stops counting once it exceeds `enough`. Anything that cannot be counted
 * is infinite: too many files, unreadable folders, or paths longer than the system supports. Otherwise a job could hide what it
 * writes there.
 */
export async function bytesBelow(folder: string, enough: number): Promise<number> {
  try {
    const files = await filesBelow(Buffer.from(folder));
    let bytes = 0;
    for (let from = 0; from < files.length && bytes <= enough; from += AT_ONCE)
      for (const size of await Promise.all(files.slice(from, from + AT_ONCE).map(sizeOf))) bytes += size;
    return bytes;
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}

/** Lists the files below a folder. Rejects if there are too many, or if one cannot be read. */
async function filesBelow(root: Buffer): Promise<Buffer[]> {
  const folders = [root];
  const files: Buffer[] = [];
  let entries = 0;
  for (let next = folders.pop(); next !== undefined; next = folders.pop()) {
    try {
      for await (const entry of await openFolder(next)) {
        entries += 1;
        if (entries > MAX_COUNTED_FILES) throw new RangeError('too many files');
        const path = Buffer.concat([next, SLASH, entry.name]);
        if (entry.isDirectory()) folders.push(path);
        else if (entry.isFile()) files.push(path);
      }
    } catch (error) {
      if (!isMissing(error)) throw error;
    }
  }
  return files;
}

async function sizeOf(path: Buffer): Promise<number> {
  try {
    return (await lstat(path)).size;
  } catch (error) {
    if (isMissing(error)) return 0; // removed since it was listed
    throw error;
  }
}

/** A directory entry with its raw name as stored by the file system, which need not be UTF-8. */
export type RawEntry = Omit<Dirent, 'name'> & { readonly name: Buffer };

/** Iterates over a folder's entries in small batches, however many there are. The folder is closed when the loop ends. */
export async function openFolder(folder: Buffer): Promise<AsyncIterable<RawEntry>> {
  // Node has always supported this encoding here, but its types lack it.
  return (await opendir(folder, { encoding: 'buffer' as BufferEncoding, bufferSize: 64 })) as unknown as AsyncIterable<RawEntry>;
}
