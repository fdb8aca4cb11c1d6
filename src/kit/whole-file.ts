import { randomBytes } from 'node:crypto';
import { type FileHandle, link, open, rename, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { diskError, systemCode } from './system-error.js';

/** Tells this process from an earlier one with the same id: in a container every Worker may be number 1. */
const INSTANCE = randomBytes(3).toString('hex');

export interface WholeFileOptions {
  /** Default 0600. */
  readonly mode?: number;
  /** Whose it becomes; only root may say so. */
  readonly owner?: { readonly uid: number; readonly gid: number };
  /**
   * When this resolves, the file outlives a power cut too: it and its folder are synced. One to 50 ms on an SSD or SD card, so it is for what
   * cannot be had again (keys, credentials, settings). Without it the file outlives the end of the process, however that comes.
   */
  readonly durable?: boolean;
}

/**
 * Replaces a file as a whole: a reader, a crash or a full disk in the middle sees the old or the new one. Rejects with `disk-full`, or with the
 * error of the system; then the old file is as it was.
 */
export async function writeWhole(file: string, content: string | Uint8Array, options: WholeFileOptions = {}): Promise<void> {
  await drafted(file, content, options, (draft) => rename(draft, file));
}

/** Makes a file as a whole. False if there is one: it stays as it is, and of several that try at once one succeeds. */
export async function createWhole(file: string, content: string | Uint8Array, options: WholeFileOptions = {}): Promise<boolean> {
  try {
    // Unlike rename, link never replaces a file that appeared meanwhile.
    await drafted(file, content, options, (draft) => link(draft, file).then(() => rm(draft, { force: true })));
    return true;
  } catch (error) {
    const code = systemCode(error);
    if (code === 'EEXIST') return false;
    // File systems without hard links (FAT) have only this: it may be found empty for a moment.
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

async function drafted(
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
    await rm(draft, { force: true }).catch(() => {}); // the first error says more
    throw diskError(error);
  }
}

/** Some file systems, and Windows, have no sync for folders: there the name is as safe as they make it. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r').catch(() => undefined);
  await handle?.sync().catch(() => {});
  await handle?.close();
}

/** A write of the system may take fewer bytes than it was given. */
export async function writeAll(handle: Pick<FileHandle, 'write'>, bytes: Uint8Array, position: number | null = null): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const { bytesWritten } = await handle.write(bytes, at, bytes.length - at, position === null ? null : position + at);
    at += bytesWritten;
  }
}

/** A name for something unfinished. The process id in it lets a later process tell whether its maker still lives. */
export function unfinishedName(prefix: string): string {
  return `${prefix}.${process.pid}.${INSTANCE}${randomBytes(4).toString('hex')}`;
}

/** Whether the maker of such a name is gone. Not sure across containers that share the folder: only delete or copy on its word. */
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
