import { mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { systemCode } from './system-error.js';

/** What the system may say of a folder that is there already; on a read-only file system it says that first. */
const MAY_BE_THERE = ['EEXIST', 'EROFS', 'EPERM', 'EISDIR'];

/**
 * Makes a folder that the owner has named, and those above it. Not with `recursive`: Node's loop never ends where the folder above exists and the
 * system still says ENOENT, as in /proc or below an automount. Throws the system's error.
 */
export function makeFolder(path: string, mode = 0o700): void {
  if (!isMade(path, mode)) {
    makeFolder(dirname(path), mode);
    isMade(path, mode, true);
  }
}

/** False if the folder above has to be made first. */
function isMade(path: string, mode: number, last = dirname(path) === path): boolean {
  try {
    mkdirSync(path, mode);
    return true;
  } catch (error) {
    const code = systemCode(error) ?? '';
    if (MAY_BE_THERE.includes(code) && statSync(path, { throwIfNoEntry: false })?.isDirectory() === true) return true;
    if (code === 'ENOENT' && !last) return false;
    throw error;
  }
}
