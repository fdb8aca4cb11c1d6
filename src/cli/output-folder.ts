import { createHash } from 'node:crypto';
import { mkdir, open, rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { FileRef, JobFiles } from '../job/files.js';
import { faultAmong } from '../kit/portable-path.js';
import { fileError } from '../kit/system-error.js';
import { unfinishedName, writeAll } from '../kit/whole-file.js';

/** The longest name that every file system takes, less what `unfinishedName` adds. */
const MAX_NAME_BYTES = 200;

/** Reads the content of a file. */
export type ReadFile = (name: string, file: FileRef) => AsyncIterable<Uint8Array>;

/**
 * Writes files that a job made below a folder, by their names. Each appears whole. Rejects with the code for the system's error. The names come from a
 * Worker by way of a Master: they are checked again. What was written since `madeAt`, in milliseconds since the epoch, is left as it is.
 */
export async function writeFiles(folder: string, files: JobFiles, read: ReadFile, madeAt = Number.POSITIVE_INFINITY): Promise<void> {
  const fault = faultAmong(Object.keys(files));
  if (fault !== undefined) throw fileError(new Error(`${fault.path}: ${fault.fault}`), 'files-invalid');
  for (const [name, file] of Object.entries(files)) {
    const path = join(folder, ...name.split('/'));
    const present = await stat(path).catch(() => undefined);
    if (present?.size === file.size && present.mtimeMs >= madeAt) continue;
    await writeOne(path, read(name, file));
  }
}

async function writeOne(path: string, content: AsyncIterable<Uint8Array>): Promise<void> {
  const draft = unfinishedName(path);
  try {
    await mkdir(dirname(path), { recursive: true });
    const handle = await open(draft, 'wx');
    try {
      for await (const bytes of content) await writeAll(handle, bytes);
    } finally {
      await handle.close();
    }
    await rename(draft, path);
  } catch (error) {
    await rm(draft, { force: true }).catch(() => {}); // the first error says more
    throw fileError(error, 'internal', path);
  }
}

/** A job's id as the name of a folder: different for different ids, and safe whatever the id is. */
export function folderName(id: string): string {
  const plain = /^[\w-][\w.@+=-]*$/.test(id) && !id.endsWith('.') && faultAmong([id]) === undefined && id === id.toLowerCase();
  if (plain && Buffer.byteLength(id) <= MAX_NAME_BYTES) return id;
  // Ids that differ only in case, or in characters that a file system does not have, must not share a folder.
  const readable = id.replace(/[^\w-]+/g, '_').slice(0, 60);
  return `${readable}~${createHash('sha256').update(id).digest('hex').slice(0, 16)}`;
}
