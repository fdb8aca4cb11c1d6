import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { chmod, lstat, open, readFile, realpath, rename, rm, rmdir, unlink } from 'node:fs/promises';
import { promisify } from 'node:util';
import { openFolder } from './bytes-below.js';
import { systemCode } from './system-error.js';

/** What could not be removed. */
export interface Remains {
  /** The first of them. */
  readonly path: string;
  readonly why: string;
  /** What a person can do. */
  readonly hint: string;
}

const SLASH = Buffer.from('/');
/** Folders deeper than this, or with longer paths, are first moved up: no path gets longer than the system knows, few folders are open. */
const MAX_DEPTH = 24;
const MAX_PATH_BYTES = 2_048;
/** Each takes 24 levels, or something that was immutable; more can only mean that somebody still writes. */
const MAX_PASSES = 20_000;
/** Files removed at the same time: far from enough to hold up what else this process does on its disk. */
const AT_ONCE = 8;
/** Entries whose attributes are taken in one pass: all of them are arguments of one command. */
const MAX_UNLOCKED = 50;
const UNLOCK_MS = 10_000;

/**
 * Removes whatever a stranger has left: paths beyond what the system knows, names that are not UTF-8, folders without permissions, immutable
 * entries (as root), millions of files. Never rejects, never follows a link, never enters another file system that is mounted inside, and holds
 * no more than a few names in memory. Resolves with what is left, or undefined if all is gone; when the signal aborts it stops where it is.
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
  /** Something has gone, so another pass may get further. */
  #progress = false;
  #remains: Remains | undefined;
  /** Entries that may be immutable … */
  #locked = new Map<string, Buffer>();
  /** … and those that were tried. */
  readonly #unlocked = new Set<string>();
  #device = 0;
  /** Where something is mounted below: the number of the mount that the tree is on. */
  #mount: string | undefined;

  constructor(path: string, signal: AbortSignal | undefined) {
    this.#root = Buffer.from(path);
    this.#signal = signal;
  }

  async run(): Promise<Remains | undefined> {
    if (!(await this.#look())) return undefined;
    for (let pass = 0; pass < MAX_PASSES && !this.#signal?.aborted; pass += 1) {
      this.#progress = false;
      this.#remains = undefined;
      if (await this.#removeFolder(this.#root, 0)) return undefined;
      await this.#unlock();
      if (!this.#progress) break;
    }
    return this.#remains ?? remainsOf(this.#root.toString(), undefined);
  }

  /** False if there is no folder there any more. */
  async #look(): Promise<boolean> {
    const found = await lstat(this.#root).catch((error: unknown) => {
      if (systemCode(error) === 'ENOENT') return undefined;
      throw error;
    });
    if (found === undefined) return false;
    if (!found.isDirectory()) {
      await unlink(this.#root).catch((error: unknown) => {
        // Somebody else was quicker.
        if (systemCode(error) !== 'ENOENT') throw error;
      });
      return false;
    }
    this.#device = found.dev;
    const real = await realpath(this.#root.toString());
    const mounts = await readFile('/proc/self/mountinfo', 'latin1').catch(() => '');
    // The fifth field is where it is mounted, with octal escapes: only its beginning matters here.
    if (mounts.includes(` ${encodeSpaces(Buffer.from(real).toString('latin1'))}/`)) this.#mount = await mountOf(this.#root);
    return true;
  }

  async #removeFolder(folder: Buffer, depth: number): Promise<boolean> {
    if (depth > 0 && !(await this.#isOurs(folder))) {
      this.#stays(folder, { code: 'EBUSY' });
      return false;
    }
    if (depth > MAX_DEPTH || folder.length > MAX_PATH_BYTES) return this.#moveUp(folder);
    if (!(await this.#empty(folder, depth))) return false;
    return this.#take(folder, () => rmdir(folder));
  }

  async #empty(folder: Buffer, depth: number): Promise<boolean> {
    let whole = true;
    let files: Promise<boolean>[] = [];
    const settle = async () => {
      for (const gone of await Promise.all(files)) whole &&= gone;
      files = [];
    };
    const listed = await this.#attempt(folder, async () => {
      for await (const entry of await openFolder(folder)) {
        if (this.#signal?.aborted) break;
        const path = Buffer.concat([folder, SLASH, entry.name]);
        if (entry.isDirectory()) whole = (await this.#removeFolder(path, depth + 1)) && whole;
        else files.push(this.#take(path, () => unlink(path)));
        if (files.length >= AT_ONCE) await settle();
      }
    });
    await settle();
    return listed && whole && !this.#signal?.aborted;
  }

  /** To the top of the tree, where a later pass finds it. */
  async #moveUp(folder: Buffer): Promise<boolean> {
    const higher = Buffer.concat([this.#root, SLASH, Buffer.from(randomBytes(8).toString('hex'))]);
    await this.#take(folder, () => rename(folder, higher));
    return false;
  }

  /** Something less in the way. */
  async #take(path: Buffer, act: () => Promise<void>): Promise<boolean> {
    const taken = await this.#attempt(path, act);
    this.#progress ||= taken;
    return taken;
  }

  /** Does it, if need be with the permissions that it takes. True if it is done, or there was nothing to do. */
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
        this.#stays(path, error);
        return false;
      }
    }
    return true;
  }

  #stays(path: Buffer, error: unknown): void {
    const code = systemCode(error);
    // It is filled by what was moved up meanwhile, or by a process that still lives.
    if (code !== 'ENOTEMPTY') this.#remains ??= remainsOf(path.toString(), error);
    if (code !== 'EPERM') return;
    for (const each of path === this.#root ? [path] : [parentOf(path), path]) {
      const key = each.toString('latin1');
      if (this.#locked.size < MAX_UNLOCKED && !this.#unlocked.has(key)) this.#locked.set(key, each);
    }
  }

  /** Takes the attributes "immutable" and "append only", which only root may. */
  async #unlock(): Promise<void> {
    const paths = [...this.#locked.values()];
    this.#locked = new Map();
    if (paths.length === 0 || process.platform !== 'linux' || process.getuid?.() !== 0) return;
    for (const path of paths) this.#unlocked.add(path.toString('latin1'));
    // Octal, because an argument of Node's cannot carry a name that is not UTF-8; the x keeps line ends at its end.
    const names = paths.map((path) => path.reduce((text, byte) => `${text}\\0${byte.toString(8)}`, ''));
    const script = 'for n do p=$(printf "%bx" "$n"); chattr -f -i -a -- "' + '$' + '{p%x}"; done';
    await promisify(execFile)('sh', ['-c', script, 'sh', ...names], {
      env: { LC_ALL: 'C', PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
      timeout: UNLOCK_MS,
    }).catch(() => {});
    this.#progress = true;
  }

  /** On the file system of the tree, and not mounted there from elsewhere. */
  async #isOurs(folder: Buffer): Promise<boolean> {
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

/** Tells bind mounts apart too, which have the device number of where they come from. */
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
