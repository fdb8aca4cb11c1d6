import { mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { systemCode } from './system-error.js';

/** Error codes for a folder that already exists; a read-only file system reports EROFS before EEXIST. */
const MAY_BE_THERE = ['EEXIST', 'EROFS', 'EPERM', 'EISDIR'];

/**
 * Creates a folder that the owner has named, with its parents. Not by `recursive`: Node loops forever if the parent exists and the
 * system still reports ENOENT, as in /proc or below an automount. Throws the system's error.
 */
export function makeFolder(path: string, mode = 0o700): void {
  if (!isMade(path, mode)) {
    makeFolder(dirname(path), mode);
    isMade(path, mode, true);
  }
}

/** Returns false if the parent has to be created first. */
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
