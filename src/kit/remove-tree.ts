import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { chmod, lstat, open, readFile, realpath, rename, rm, rmdir, unlink } from 'node:fs/promises';
import { promisify } from 'node:util';
import { openFolder } from './bytes-below.js';
import { systemCode } from './system-error.js';

/** What could not be removed. */
export interface Remains {
  /** The first path that remains. */
  readonly path: string;
  readonly why: string;
  /** What a person can do about it. */
  readonly hint: string;
}

const SLASH = Buffer.from('/');
/**
 * Folders deeper than this, or with longer paths, are moved up first, so that no path exceeds the system's limit and few folders
 * are open.
 */
const MAX_DEPTH = 24;
const MAX_PATH_BYTES = 2_048;
/** Each pass removes 24 levels, or something that was immutable; needing more means that a process is still writing. */
const MAX_PASSES = 20_000;
/** Concurrent removals: few enough not to starve the other disk access of this process. */
const AT_ONCE = 8;
/** Entries whose attributes are cleared per pass: all of them are arguments of one command. */
const MAX_UNLOCKED = 50;
const UNLOCK_MS = 10_000;

/**
 * Removes whatever a stranger has left behind: paths beyond the system's limit, names that are not UTF-8, folders without
 * permissions, immutable entries (as root), millions of files. Never rejects, never follows a link, never enters a file system
 * mounted inside, and holds only a few names in memory. Resolves with what is left, or with undefined if everything is gone. When
 * the signal aborts, it stops midway.
 *
 * `fs.rm` fails on most of these, and starts as many removals at once as a folder has entries.
 */
export async function removeTree(path: string, signal?: AbortSignal): Promise<Remains | undefined> {
  try {
    if (process.platform === 'win32') await rm(path, { recursive: true, force: true, maxRetries: 3 });
    else return await new Removal(path, signal).run();
    return undefined;
  } catch (error) {
    return remainsOf(path, error);
  }
}

class Removal {
  readonly #root: Buffer;
  readonly #signal: AbortSignal | undefined;
  /** Something was removed in this pass, so another pass may get further. */
  #progress = false;
  #remains: Remains | undefined;
  /** Entries that may be immutable. */
  #locked = new Map<string, Buffer>();
  /** Entries whose attributes were already cleared once. */
  readonly #unlocked = new Set<string>();
  #device = 0;
  /** Mount id of the tree, set only if something is mounted below it. */
  #mount: string | undefined;

  constructor(path: string, signal: AbortSignal | undefined) {
    this.#root = Buffer.from(path);
    this.#signal = signal;
  }

  async run(): Promise<Remains | undefined> {
    if (!(await this.#inspect())) return undefined;
    for (let pass = 0; pass < MAX_PASSES && !this.#signal?.aborted; pass += 1) {
      this.#progress = false;
      this.#remains = undefined;
      if (await this.#removeFolder(this.#root, 0)) return undefined;
      await this.#unlock();
      if (!this.#progress) break;
    }
    return this.#remains ?? remainsOf(this.#root.toString(), undefined);
  }

  /** Returns false if there is no folder any more. */
  async #inspect(): Promise<boolean> {
    const found = await lstat(this.#root).catch((error: unknown) => {
      if (systemCode(error) === 'ENOENT') return undefined;
      throw error;
    });
    if (found === undefined) return false;
    if (!found.isDirectory()) {
      await unlink(this.#root).catch((error: unknown) => {
        // Another process removed it first.
        if (systemCode(error) !== 'ENOENT') throw error;
      });
      return false;
    }
    this.#device = found.dev;
    const real = await realpath(this.#root.toString());
    const mounts = await readFile('/proc/self/mountinfo', 'latin1').catch(() => '');
    // The fifth field is the mount point, with octal escapes; only its prefix matters here.
    if (mounts.includes(` ${encodeSpaces(Buffer.from(real).toString('latin1'))}/`)) this.#mount = await mountOf(this.#root);
    return true;
  }

  async #removeFolder(folder: Buffer, depth: number): Promise<boolean> {
    if (depth > 0 && !(await this.#isOnSameMount(folder))) {
      this.#recordRemains(folder, { code: 'EBUSY' });
      return false;
    }
    if (depth > MAX_DEPTH || folder.length > MAX_PATH_BYTES) return this.#moveUp(folder);
    if (!(await this.#empty(folder, depth))) return false;
    return this.#step(folder, () => rmdir(folder));
  }

  async #empty(folder: Buffer, depth: number): Promise<boolean> {
    let emptied = true;
    let files: Promise<boolean>[] = [];
    const settle = async () => {
      for (const gone of await Promise.all(files)) emptied &&= gone;
      files = [];
    };
    const listed = await this.#attempt(folder, async () => {
      for await (const entry of await openFolder(folder)) {
        if (this.#signal?.aborted) break;
        const path = Buffer.concat([folder, SLASH, entry.name]);
        if (entry.isDirectory()) emptied = (await this.#removeFolder(path, depth + 1)) && emptied;
        else files.push(this.#step(path, () => unlink(path)));
        if (files.length >= AT_ONCE) await settle();
      }
    });
    await settle();
    return listed && emptied && !this.#signal?.aborted;
  }

  /** Moves a folder to the top of the tree, where a later pass finds it. */
  async #moveUp(folder: Buffer): Promise<boolean> {
    const higher = Buffer.concat([this.#root, SLASH, Buffer.from(randomBytes(8).toString('hex'))]);
    await this.#step(folder, () => rename(folder, higher));
    return false;
  }

  /** Attempts a step, and records the progress if it succeeds. */
  async #step(path: Buffer, act: () => Promise<void>): Promise<boolean> {
    const done = await this.#attempt(path, act);
    this.#progress ||= done;
    return done;
  }

  /** Attempts `act`, after fixing permissions if needed. Returns true if it is done, or if there was nothing to do. */
  async #attempt(path: Buffer, act: () => Promise<void>): Promise<boolean> {
    try {
      await act();
    } catch (first) {
      try {
        if (systemCode(first) === 'ENOENT') return true;
        if (systemCode(first) !== 'EACCES') throw first;
        if (path !== this.#root) await permit(parentOf(path));
        await permit(path);
        await act();
      } catch (error) {
        if (systemCode(error) === 'ENOENT') return true;
        this.#recordRemains(path, error);
        return false;
      }
    }
    return true;
  }

  #recordRemains(path: Buffer, error: unknown): void {
    const code = systemCode(error);
    // New entries appeared: moved up meanwhile, or written by a process that is still alive.
    if (code !== 'ENOTEMPTY') this.#remains ??= remainsOf(path.toString(), error);
    if (code !== 'EPERM') return;
    for (const each of path === this.#root ? [path] : [parentOf(path), path]) {
      const key = each.toString('latin1');
      if (this.#locked.size < MAX_UNLOCKED && !this.#unlocked.has(key)) this.#locked.set(key, each);
    }
  }

  /** Clears the attributes "immutable" and "append only", which only root may do. */
  async #unlock(): Promise<void> {
    const paths = [...this.#locked.values()];
    this.#locked = new Map();
    if (paths.length === 0 || process.platform !== 'linux' || process.getuid?.() !== 0) return;
    for (const path of paths) this.#unlocked.add(path.toString('latin1'));
    // Octal, because Node cannot pass a name that is not UTF-8 as an argument; the x protects trailing line ends.
    const names = paths.map((path) => path.reduce((text, byte) => `${text}\\0${byte.toString(8)}`, ''));
    const script = 'for n do p=$(printf "%bx" "$n"); chattr -f -i -a -- "' + '$' + '{p%x}"; done';
    await promisify(execFile)('sh', ['-c', script, 'sh', ...names], {
      env: { LC_ALL: 'C', PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
      timeout: UNLOCK_MS,
    }).catch(() => {});
    this.#progress = true;
  }

  /** Whether the folder is on the tree's own file system rather than mounted there from elsewhere. */
  async #isOnSameMount(folder: Buffer): Promise<boolean> {
    if (this.#mount !== undefined) return (await mountOf(folder)) === this.#mount;
    if (process.platform === 'linux') return true;
    return lstat(folder).then(
      ({ dev }) => dev === this.#device,
      () => true,
    );
  }
}

function parentOf(path: Buffer): Buffer {
  return path.subarray(0, Math.max(1, path.lastIndexOf(0x2f)));
}

async function permit(path: Buffer): Promise<void> {
  const found = await lstat(path);
  if (found.isDirectory()) await chmod(path, 0o700);
}

/** Returns the mount id, which also identifies bind mounts: those share the device number of their origin. */
async function mountOf(folder: Buffer): Promise<string> {
  const handle = await open(folder, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW).catch(() => undefined);
  if (handle === undefined) return '';
  try {
    return /^mnt_id:\s*(\d+)$/m.exec(await readFile(`/proc/self/fdinfo/${handle.fd}`, 'utf8'))?.[1] ?? '';
  } finally {
    await handle.close();
  }
}

function encodeSpaces(path: string): string {
  return path.replace(/[ \t\n\\]/g, (char) => `\\${char.charCodeAt(0).toString(8).padStart(3, '0')}`);
}

const remedies: Readonly<Record<string, string>> = {
  EBUSY: 'Something is mounted there: `umount` it, then `rm -rf` the folder.',
  EPERM: 'It is immutable, or of another user: `chattr -R -i` and `rm -rf` it as root.',
  EACCES: 'It is of another user: `rm -rf` it as root.',
  EROFS: 'The file system is read-only: look at its disk, and mount it writable again.',
  EIO: 'The disk reports errors: check it.',
};

function remainsOf(path: string, error: unknown): Remains {
  const code = typeof error === 'object' && error !== null && 'code' in error ? String(error.code) : 'ENOTEMPTY';
  return { path, why: code, hint: remedies[code] ?? '`rm -rf` it; if that fails too, as root.' };
}
