import { constants, copyFileSync, linkSync, mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { FilePaths, RunFiles } from '../job/runner.js';
import { removeTree } from '../kit/remove-tree.js';
import { systemCode } from '../kit/system-error.js';

/** Where the files of one job, and those of its parents, have their names until its end: `own/NAME` and `parents/INDEX/NAME`, links to the cached content, so nothing is copied. */
export class LinkedFiles {
  readonly paths: RunFiles;
  readonly #folder: string;

  /** Throws the error of the system. */
  constructor(folder: string, { own, parents }: RunFiles) {
    this.#folder = folder;
    try {
      mkdirSync(join(folder, 'own'), { recursive: true, mode: 0o755 });
      this.paths = {
        own: placeAll(own, join(folder, 'own')),
        parents: parents.map((files, at) => placeAll(files, join(folder, 'parents', String(at)))),
      };
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

function placeAll(files: FilePaths, folder: string): FilePaths {
  return Object.fromEntries(Object.entries(files).map(([name, content]) => [name, place(content, join(folder, ...name.split('/')))]));
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
