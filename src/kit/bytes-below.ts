import type { Dirent } from 'node:fs';
import { lstat, opendir } from 'node:fs/promises';
import { isMissing } from './system-error.js';

/** Files counted in one look; a job with more has used its allowance. */
const MAX_COUNTED_FILES = 100_000;
const SLASH = Buffer.from('/');

/** Sizes asked for at once: one after the other a hundred thousand take seconds, in which a job comes to its end. */
const AT_ONCE = 64;

/**
 * What the files below a folder take. Stops counting once it is more than `enough`. What cannot be counted is infinitely much: too many
 * files, folders that may not be read, or paths longer than the system knows. Else a job could hide in them what it writes.
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

/** Their paths. Rejects where there are too many, or one that cannot be read. */
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
    if (isMissing(error)) return 0; // gone since it was listed
    throw error;
  }
}

/** An entry whose name is what the file system holds: it need not be UTF-8. */
export type RawEntry = Omit<Dirent, 'name'> & { readonly name: Buffer };

/** The entries of a folder, a few at a time, however many there are. Closed when the loop over it ends. */
export async function openFolder(folder: Buffer): Promise<AsyncIterable<RawEntry>> {
  // Node's types lack this encoding here, which it has had from the beginning.
  return (await opendir(folder, { encoding: 'buffer' as BufferEncoding, bufferSize: 64 })) as unknown as AsyncIterable<RawEntry>;
}
