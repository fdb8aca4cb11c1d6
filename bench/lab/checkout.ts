import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:fs';
import { copyFile, link, mkdir, mkdtemp, readdir, readFile, readlink, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { removeFolder } from '../../test/lab/remove-folder.js';

/**
 * Another revision of this repository, installed and built in a folder for temporary files. Nothing of it is left after `close`, also where
 * `open` was cut off in the middle.
 */
export class Checkout {
  /** The folder of the revision's files. */
  readonly folder: string;
  readonly #root: string;
  readonly #parent: string;
  readonly #stop = new AbortController();
  #opening: Promise<void> = Promise.resolve();

  private constructor(root: string, parent: string) {
    this.#root = root;
    this.#parent = parent;
    this.folder = join(parent, 'checkout');
  }

  /** `root` is a work tree whose own dependencies are installed. */
  static async at(root: string): Promise<Checkout> {
    return new Checkout(root, await mkdtemp(join(tmpdir(), 'peerwork-compare-')));
  }

  /** Rejects if there is no such revision, or if it cannot be built. */
  open(revision: string): Promise<void> {
    const opening = this.#open(revision);
    this.#opening = opening.catch(() => {});
    return opening;
  }

  async #open(revision: string): Promise<void> {
    await this.#run(this.#root, 'git', ['worktree', 'add', '--quiet', '--detach', this.folder, revision]);
    if (await sameFile(join(this.#root, 'package-lock.json'), join(this.folder, 'package-lock.json')))
      await linkTree(join(this.#root, 'node_modules'), join(this.folder, 'node_modules'), this.#stop.signal);
    else await this.#run(this.folder, 'npm', ['ci', '--no-audit', '--no-fund', '--prefer-offline']);
    await this.#run(this.folder, process.execPath, [join('scripts', 'build.mjs')]);
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#opening;
    await removeFolder(this.#parent);
    // What it knows of work trees whose folder is gone.
    await once(spawn('git', ['worktree', 'prune'], { cwd: this.#root, stdio: 'ignore' }), 'exit').catch(() => {});
  }

  /** The output of the tools goes to stderr: stdout is the table's. */
  async #run(cwd: string, command: string, args: readonly string[]): Promise<void> {
    this.#stop.signal.throwIfAborted();
    // A group of its own: Ctrl-C reaches us alone, and what a tool has started ends with it.
    const child = spawn(command, args, { cwd, stdio: ['ignore', 2, 2], detached: true });
    const end = () => {
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
    };
    this.#stop.signal.addEventListener('abort', end);
    try {
      const [code, signal] = (await once(child, 'exit')) as [number | null, NodeJS.Signals | null];
      if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${signal ?? code}`);
    } finally {
      this.#stop.signal.removeEventListener('abort', end);
    }
  }
}

async function sameFile(one: string, other: string): Promise<boolean> {
  const [a, b] = await Promise.all([readFile(one), readFile(other)]);
  return a.equals(b);
}

/** A tree whose files are those of another: it takes no room and hardly any time. Copied where the file system cannot do that. */
async function linkTree(from: string, to: string, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  await mkdir(to);
  for (const entry of await readdir(from, { withFileTypes: true })) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)];
    if (entry.isDirectory()) await linkTree(source, target, signal);
    else if (entry.isSymbolicLink()) await symlink(await readlink(source), target);
    else await link(source, target).catch(() => copyFile(source, target, constants.COPYFILE_FICLONE));
  }
}
