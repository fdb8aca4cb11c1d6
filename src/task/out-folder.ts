import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { PeerworkError } from '../errors.js';
import { MAX_FILES } from '../job/limits.js';
import { faultAmong } from '../kit/portable-path.js';

const MAX_DEPTH = 32;

/**
 * Lists what a run left for its outcome: absolute paths by name. Nothing in the folder is trusted. Rejects with `files-invalid` for links, devices and
 * the like, names that another system could not store, and more files than an outcome may have.
 */
export async function listOutFolder(folder: string): Promise<ReadonlyMap<string, string>> {
  const found = new Map<string, string>();
  await list(folder, '', 1, found);
  const fault = faultAmong(found.keys());
  if (fault !== undefined) throw new PeerworkError('files-invalid', `${fault.path}: ${fault.fault}`);
  return found;
}

async function list(folder: string, prefix: string, depth: number, found: Map<string, string>): Promise<void> {
  if (depth > MAX_DEPTH) throw new PeerworkError('files-invalid', `folders are deeper than ${MAX_DEPTH}`);
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const name = `${prefix}${entry.name}`;
    const path = join(folder, entry.name);
    if (entry.isDirectory()) await list(path, `${name}/`, depth + 1, found);
    else if (!entry.isFile()) throw new PeerworkError('files-invalid', `${JSON.stringify(name.slice(0, 200))} is not an ordinary file`);
    else if (found.size >= MAX_FILES) throw new PeerworkError('files-invalid', `more than ${MAX_FILES} files`);
    else found.set(name, path);
  }
}
