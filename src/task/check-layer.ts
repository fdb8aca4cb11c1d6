import type { Stats } from 'node:fs';
import { chmod, lstat, readdir, readlink, realpath } from 'node:fs/promises';
import { dirname, isAbsolute, join, relative, sep } from 'node:path';
import { PeerworkError } from '../errors.js';
import { removeTree } from '../kit/remove-tree.js';
import type { PlannedPackage } from './install-plan.js';

/** Maximum number of entries of a layer; more than any program needs. */
const MAX_ENTRIES = 500_000;
const SET_ID = 0o6000;
const FOLDER_MODE = 0o755;
const MODULES = 'node_modules';

/**
 * Checks what npm has installed before it becomes a layer: only folders and regular files of ours, and links only to commands inside. Makes
 * everything readable for all and writable for nobody, to guard against accidents, and removes what is outside `node_modules`. Rejects with
 * `dependencies-failed`.
 */
export async function checkLayer(folder: string, packages: readonly PlannedPackage[]): Promise<void> {
  for (const name of await readdir(folder)) if (name !== MODULES) await removeTree(join(folder, name));
  await new LayerCheck(await realpath(folder)).run(MODULES);
  await checkPackages(join(folder, MODULES), new Set(packages.map(({ place }) => place)));
}

/** Checks that every package that Node can find was planned. Scripts may leave folders that start with a dot. */
async function checkPackages(modules: string, planned: ReadonlySet<string>): Promise<void> {
  for (const name of await readdir(modules)) {
    if (name.startsWith('.')) continue;
    const found = name.startsWith('@') ? (await readdir(join(modules, name))).map((inner) => `${name}/${inner}`) : [name];
    for (const each of found) if (!planned.has(`${MODULES}/${each}`)) refuse(each, 'is not in the lockfile');
  }
}

class LayerCheck {
  readonly #folder: string;
  readonly #uid = process.getuid?.();
  /** Hard-linked files, with the number of their names that were seen. */
  readonly #names = new Map<string, { met: number; readonly of: number; readonly path: string }>();
  #entries = 0;

  constructor(folder: string) {
    this.#folder = folder;
  }

  async run(path: string): Promise<void> {
    await this.#checkEntry(path);
    // A name outside would let someone change the file later.
    for (const { met, of, path } of this.#names.values()) if (met !== of) refuse(path, 'has another name outside of the layer');
  }

  async #checkEntry(path: string): Promise<void> {
    this.#entries += 1;
    if (this.#entries > MAX_ENTRIES) refuse(path, `is one of more than ${MAX_ENTRIES} files`);
    const full = join(this.#folder, path);
    const found = await lstat(full).catch((cause: unknown) =>
      refuse(path, `cannot be looked at: ${cause instanceof Error ? cause.message : ''}`),
    );
    if (this.#uid !== undefined && found.uid !== this.#uid) refuse(path, 'belongs to another user');
    if (found.isSymbolicLink()) return this.#checkLink(path, full);
    if (found.isDirectory()) {
      if ((found.mode & 0o7777) !== FOLDER_MODE) await chmod(full, FOLDER_MODE);
      for (const name of await readdir(full)) await this.#checkEntry(join(path, name));
      return;
    }
    if (!found.isFile()) refuse(path, 'is not an ordinary file');
    await this.#checkFile(path, full, found);
  }

  async #checkFile(path: string, full: string, { mode, nlink, dev, ino }: Stats): Promise<void> {
    if (process.platform !== 'win32') {
      if ((mode & SET_ID) !== 0) refuse(path, 'would run as another user');
      if (nlink > 1) {
        const key = `${dev}:${ino}`;
        this.#names.set(key, { met: (this.#names.get(key)?.met ?? 0) + 1, of: nlink, path });
      }
    }
    const wanted = (mode & 0o111) === 0 ? 0o444 : 0o555;
    if ((mode & 0o7777) !== wanted) await chmod(full, wanted);
  }

  /** Allows only the links that npm creates: `node_modules/.bin/command` to a file of a package. */
  async #checkLink(path: string, full: string): Promise<void> {
    const [target, real] = await Promise.all([readlink(full), realpath(full).catch(() => undefined)]);
    const isCommand = dirname(path).split(sep).slice(-2).join('/') === `${MODULES}/.bin`;
    if (!isCommand || isAbsolute(target) || !this.#isInside(join(dirname(full), target)) || real === undefined || !this.#isInside(real))
      refuse(path, 'is a link that npm does not make');
  }

  #isInside(path: string): boolean {
    const [first] = relative(this.#folder, path).split(sep);
    return first === MODULES;
  }
}

function refuse(path: string, why: string): never {
  throw new PeerworkError('dependencies-failed', `npm has made what a layer must not have: ${JSON.stringify(path.slice(-200))} ${why}`);
}
