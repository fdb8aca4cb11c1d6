import { constants } from 'node:fs';
import { type FileHandle, open, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { PeerworkError } from '../errors.js';
import { MAX_FILES } from '../job/limits.js';
import type { OutFile } from '../job/source.js';
import { faultAmong } from '../kit/portable-path.js';
import { systemCode } from '../kit/system-error.js';

const MAX_DEPTH = 32;
/** Neither follows a link nor waits for the other end of a pipe. */
const FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/**
 * Opens what a run left for its outcome, file by file; each is closed before the next. Nothing in the folder is trusted, and the run's process may
 * still change it: on Linux each step is taken from an open folder, so that no link leads out, whenever it appears. Rejects with `files-invalid` for
 * links, devices and the like, names that another system could not store, and more files than an outcome may have.
 */
export async function* openOutFolder(folder: string): AsyncGenerator<OutFile, void, undefined> {
  const names: string[] = [];
  const root = await openEntry(folder, '');
  try {
    if (!(await root.stat()).isDirectory()) throw notOrdinary('');
    yield* filesIn(root, folder, '', names);
  } finally {
    await root.close();
  }
  const fault = faultAmong(names);
  if (fault !== undefined) throw new PeerworkError('files-invalid', `${fault.path}: ${fault.fault}`);
}

async function* filesIn(opened: FileHandle, path: string, prefix: string, names: string[]): AsyncGenerator<OutFile, void, undefined> {
  if (prefix.split('/').length > MAX_DEPTH) throw new PeerworkError('files-invalid', `folders are deeper than ${MAX_DEPTH}`);
  // Elsewhere a job runs as the same user as the Worker and can read all of its files anyway.
  const folder = process.platform === 'linux' ? `/proc/self/fd/${opened.fd}` : path;
  for (const entry of await readdir(folder)) {
    const name = `${prefix}${entry}`;
    const handle = await openEntry(join(folder, entry), name);
    try {
      const found = await handle.stat();
      if (found.isDirectory()) yield* filesIn(handle, join(path, entry), `${name}/`, names);
      else if (!found.isFile()) throw notOrdinary(name);
      else if (names.push(name) > MAX_FILES) throw new PeerworkError('files-invalid', `more than ${MAX_FILES} files`);
      else yield { name, handle };
    } finally {
      await handle.close();
    }
  }
}

async function openEntry(path: string, name: string): Promise<FileHandle> {
  try {
    return await open(path, FLAGS);
  } catch (error) {
    const code = systemCode(error);
    // A link, a socket, or gone meanwhile.
    if (code === 'ELOOP' || code === 'ENXIO' || code === 'ENOENT') throw notOrdinary(name);
    throw error;
  }
}

function notOrdinary(name: string): PeerworkError {
  return new PeerworkError(
    'files-invalid',
    name === '' ? 'the folder is none' : `${JSON.stringify(name.slice(0, 200))} is not an ordinary file`,
  );
}
