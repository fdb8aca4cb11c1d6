import type { Dirent } from 'node:fs';
import { lstat, opendir } from 'node:fs/promises';
import { isMissing } from './system-error.js';

/** Files counted in one look; a job with more has used its allowance. */
const MAX_COUNTED_FILES = 100_000;
const SLASH = Buffer.from('/');

/**
 * What the files below a folder take. Stops counting once it is more than `enough`. What cannot be counted is infinitely much: too many
 * files, folders that may not be read, or paths longer than the system knows. Else a job could hide in them what it writes.
 */
export async function bytesBelow(folder: string, enough: number): Promise<number> {
  const folders = [Buffer.from(folder)];
  let bytes = 0;
  let files = 0;
  for (let next = folders.pop(); next !== undefined; next = folders.pop()) {
    try {
      for await (const entry of await openFolder(next)) {
        files += 1;
        if (files > MAX_COUNTED_FILES) return Number.POSITIVE_INFINITY;
        const path = Buffer.concat([next, SLASH, entry.name]);
        if (entry.isDirectory()) folders.push(path);
        else if (entry.isFile()) bytes += await sizeOf(path);
        if (bytes > enough) return bytes;
      }
    } catch (error) {
      if (!isMissing(error)) return Number.POSITIVE_INFINITY;
    }
  }
  return bytes;
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
