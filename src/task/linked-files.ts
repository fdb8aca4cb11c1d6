import { constants, copyFileSync, linkSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { removeTree } from '../kit/remove-tree.js';
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

  /** What cannot be removed now is removed with the folder around it, which the runner clears. */
  remove(): void {
    void removeTree(this.#folder);
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
