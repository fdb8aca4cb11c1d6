import { constants, copyFileSync, linkSync, mkdirSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { systemCode } from '../kit/system-error.js';

/** Where the files of one job have their names, until its end: links to the cached content, so nothing is copied. */
export class LinkedFiles {
  /** Absolute paths by name. */
  readonly paths: Readonly<Record<string, string>>;
  readonly #folder: string;

  /** Throws the error of the system. */
  constructor(folder: string, files: Readonly<Record<string, string>>) {
    this.#folder = folder;
    try {
      mkdirSync(folder, { mode: 0o755 });
      this.paths = Object.fromEntries(
        Object.entries(files).map(([name, content]) => [name, place(content, join(folder, ...name.split('/')))]),
      );
    } catch (error) {
      this.remove();
      throw error;
    }
  }

  /** Never throws: what stays is removed with the process. */
  remove(): void {
    try {
      rmSync(this.#folder, { recursive: true, force: true });
    } catch {
      // Its parent is removed by the runner, which says what is in the way.
    }
  }
}

function place(content: string, path: string): string {
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  try {
    linkSync(content, path);
  } catch (error) {
    // File systems without hard links, and more links than one file may have.
    if (systemCode(error) === 'ENOENT') throw error;
    copyFileSync(content, path, constants.COPYFILE_FICLONE);
  }
  return path;
}
