import { randomBytes } from 'node:crypto';
import { type FileHandle, link, open, rename, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { diskError, systemCode } from './system-error.js';

/** Distinguishes this process from an earlier one with the same pid: in a container every Worker may be pid 1. */
const INSTANCE = randomBytes(3).toString('hex');

export interface WholeFileOptions {
  /** Default 0600. */
  readonly mode?: number;
  /** New owner of the file; only root may set it. */
  readonly owner?: { readonly uid: number; readonly gid: number };
  /**
   * Syncs the file and its folder before resolving, so that it survives a power cut. Takes 1 to 50 ms on an SSD or SD card, so it
   * is for what cannot be recreated (keys, credentials, settings). Without it the file survives the end of the process, however
   * that happens.
   */
  readonly durable?: boolean;
}

/**
 * Replaces a file atomically: a reader, a crash or a full disk sees either the old or the new one. Rejects with `disk-full`, or
 * with the system's error; the old file is then unchanged.
 */
export async function writeWhole(file: string, content: string | Uint8Array, options: WholeFileOptions = {}): Promise<void> {
  await writeDraft(file, content, options, (draft) => rename(draft, file));
}

/** Creates a file atomically. Returns false, and leaves the file alone, if it exists; of several concurrent callers one succeeds. */
export async function createWhole(file: string, content: string | Uint8Array, options: WholeFileOptions = {}): Promise<boolean> {
  try {
    // Unlike rename, link never replaces a file that appeared in the meantime.
    await writeDraft(file, content, options, (draft) => link(draft, file).then(() => rm(draft, { force: true })));
    return true;
  } catch (error) {
    const code = systemCode(error);
    if (code === 'EEXIST') return false;
    // File systems without hard links (FAT) offer only this: the file may be seen empty for a moment.
    if (code === 'EPERM' || code === 'ENOTSUP' || code === 'EOPNOTSUPP' || code === 'ENOSYS') return createAtOnce(file, content, options);
    throw error;
  }
}

async function createAtOnce(file: string, content: string | Uint8Array, { mode = 0o600 }: WholeFileOptions): Promise<boolean> {
  try {
    await writeFile(file, content, { flag: 'wx', mode });
    return true;
  } catch (error) {
    if (systemCode(error) === 'EEXIST') return false;
    throw diskError(error);
  }
}

async function writeDraft(
  file: string,
  content: string | Uint8Array,
  { mode = 0o600, owner, durable = false }: WholeFileOptions,
  publish: (draft: string) => Promise<void>,
): Promise<void> {
  const draft = unfinishedName(file);
  try {
    const handle = await open(draft, 'wx', mode);
    try {
      if (owner !== undefined) await handle.chown(owner.uid, owner.gid);
      await writeAll(handle, typeof content === 'string' ? Buffer.from(content) : content);
      if (durable) await handle.sync();
    } finally {
      await handle.close();
    }
    await publish(draft);
    if (durable) await syncFolder(dirname(file));
  } catch (error) {
    await rm(draft, { force: true }).catch(() => {}); // the first error is the informative one
    throw diskError(error);
  }
}

/** Some file systems, and Windows, cannot sync folders: there the name is only as durable as they make it. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r').catch(() => undefined);
  await handle?.sync().catch(() => {});
  await handle?.close();
}

/** Writes all bytes: a single write call may accept fewer than it was given. */
export async function writeAll(handle: Pick<FileHandle, 'write'>, bytes: Uint8Array, position: number | null = null): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const { bytesWritten } = await handle.write(bytes, at, bytes.length - at, position === null ? null : position + at);
    at += bytesWritten;
  }
}

/**
 * Returns a name for an unfinished file or folder. It contains the pid, so that a later process can check whether its creator is
 * still alive.
 */
export function unfinishedName(prefix: string): string {
  return `${prefix}.${process.pid}.${INSTANCE}${randomBytes(4).toString('hex')}`;
}

/** Whether the creator of such a name is gone. Not reliable across containers that share the folder: act on it only to delete or copy. */
export function isAbandoned(name: string): boolean {
  const [, digits, instance] = /\.(\d+)\.([0-9a-f]{6})[0-9a-f]{6,8}$/.exec(name) ?? [];
  const pid = Number(digits);
  if (!Number.isSafeInteger(pid) || pid <= 0) return false;
  if (pid === process.pid) return instance !== INSTANCE;
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return systemCode(error) === 'ESRCH';
  }
}
