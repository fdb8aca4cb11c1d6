import { createHash } from 'node:crypto';
import { chmod, type FileHandle, mkdir, open, readdir, rename, stat, utimes } from 'node:fs/promises';
import { join } from 'node:path';
import { PeerworkError } from '../errors.js';
import type { FileRef, JobFiles } from '../job/files.js';
import type { FilePaths, RunFiles } from '../job/runner.js';
import type { FileOrigin } from '../job/source.js';
import { clearAway } from '../kit/clearing.js';
import { diskError, isMissing } from '../kit/system-error.js';
import { isAbandoned, unfinishedName, writeAll } from '../kit/whole-file.js';
import type { Log } from '../log.js';
import { BlobQuota } from './blob-quota.js';
import { abortError, Flights } from './flights.js';

export interface FileCacheOptions {
  /** May be shared by several processes. */
  readonly folder: string;
  /** All files together; the least recently used are removed first. */
  readonly quotaBytes: number;
  readonly log: Log;
}

/** The files of one job on this machine. */
export interface CachedFiles {
  readonly paths: RunFiles;
  /** They may be evicted from now on. */
  release(): void;
}

const AT_ONCE = 2;
const READ_BYTES = 1024 * 1024;
const KEEP_PARTS_MS = 7 * 86_400_000;
/** Jobs may read it, whichever user they run as; nobody writes to it. */
const MODE = 0o444;

/**
 * Files of jobs, whole and verified, by their content: `files/ab/cdef…`, named by the hexadecimal SHA-256. The same content is fetched once, whatever
 * jobs name it. A file appears by an atomic rename. What a cut link or a killed process leaves of one stays as `arriving/<sha256>.part`; the next fetch
 * continues there.
 */
export class FileCache {
  readonly #files: string;
  readonly #arriving: string;
  readonly #quota: BlobQuota;
  readonly #log: Log;
  readonly #fetches = new Flights<void>();
  /** Files that this process has hashed, with what changes if somebody writes to one. */
  readonly #verified = new Map<string, string>();
  #ready: Promise<void> | undefined;

  constructor({ folder, quotaBytes, log }: FileCacheOptions) {
    this.#files = join(folder, 'files');
    this.#arriving = join(folder, 'arriving-files');
    this.#quota = new BlobQuota(this.#files, quotaBytes);
    this.#log = log;
  }

  /** Fetches what is missing. Rejects with `file-mismatch`, `disk-full`, a link error, or what `origin` rejects with. */
  async fetch(origin: FileOrigin, signal: AbortSignal): Promise<CachedFiles> {
    this.#ready ??= this.#prepare();
    await this.#ready;
    const all = [origin.files, ...origin.parents].flatMap((files) => Object.values(files));
    const release = this.#quota.pin(all.map(({ sha256 }) => sha256));
    try {
      const queue = new Map(all.map((file) => [file.sha256, file])).values();
      const lane = async () => {
        for (const file of queue) await this.#have(file, origin, signal);
      };
      await Promise.all(Array.from({ length: AT_ONCE }, lane));
      return { paths: { own: this.#pathsOf(origin.files), parents: origin.parents.map((files) => this.#pathsOf(files)) }, release };
    } catch (error) {
      release();
      throw error;
    }
  }

  async #have(file: FileRef, origin: FileOrigin, signal: AbortSignal): Promise<void> {
    if (await this.#isWhole(file)) {
      const now = new Date();
      await utimes(this.#path(file.sha256), now, now).catch(() => {}); // evicted by another process: the link to it fails, and the job is retried
      return;
    }
    await this.#fetches.join(file.sha256, signal, (shared) => this.#fetch(file, origin, shared));
  }

  /** Hashes a file that an earlier process has left. */
  async #isWhole({ sha256, size }: FileRef): Promise<boolean> {
    const path = this.#path(sha256);
    const found = await stat(path).catch((error: unknown) => {
      if (isMissing(error)) return undefined;
      throw error;
    });
    if (found === undefined) return false;
    const facts = `${found.ino} ${found.size}`;
    if (this.#verified.get(sha256) === facts) return true;
    if (found.size === size && (await hashOf(path)) === sha256) {
      this.#verified.set(sha256, facts);
      return true;
    }
    this.#log.warn('a file of jobs is damaged on disk', {
      sha256,
      hint: 'No action needed; it is fetched again. If it recurs, the disk is failing: check `dmesg`.',
    });
    await clearAway(path, this.#log);
    return false;
  }

  async #fetch({ sha256, size }: FileRef, origin: FileOrigin, signal: AbortSignal): Promise<void> {
    const room = await this.#quota.reserve(size);
    const part = join(this.#arriving, `${sha256}.part`);
    const draft = join(this.#arriving, unfinishedName(sha256));
    try {
      await rename(part, draft).catch(() => {}); // there is none
      const ends = await this.#receive({ sha256, size }, draft, origin, signal).catch(async (error: unknown) => {
        await rename(draft, part).catch(() => {}); // what came is fetched again
        throw error;
      });
      if (!ends) throw new PeerworkError('file-mismatch', `SHA-256 ${sha256}`);
      await chmod(draft, MODE);
      await mkdir(join(this.#files, sha256.slice(0, 2)), { recursive: true, mode: 0o755 });
      await rename(draft, this.#path(sha256));
      const { ino } = await stat(this.#path(sha256));
      this.#verified.set(sha256, `${ino} ${size}`);
      room.used();
    } catch (error) {
      room.giveBack();
      throw diskError(error);
    }
  }

  /** Completes the draft. False if it twice was not what it should be; then it is removed. */
  async #receive({ sha256, size }: FileRef, draft: string, origin: FileOrigin, signal: AbortSignal): Promise<boolean> {
    const handle = await open(draft, 'a+', 0o600);
    try {
      for (const attempt of [1, 2]) {
        const hash = createHash('sha256');
        let length = 0;
        for await (const bytes of contentOf(handle)) {
          hash.update(bytes);
          length += bytes.length;
        }
        let fault = length > size ? `more than ${size} bytes` : undefined;
        if (length < size)
          for await (const bytes of origin.open(sha256, length, signal)) {
            if (signal.aborted) throw abortError(signal);
            length += bytes.length;
            if (length > size) {
              fault = `more than ${size} bytes`;
              break;
            }
            hash.update(bytes);
            await writeAll(handle, bytes);
          }
        if (length < size) fault = `${length} of ${size} bytes`;
        if (fault === undefined && hash.digest('hex') !== sha256) fault = 'other content';
        if (fault === undefined) return true;
        this.#log.warn('a file of a job arrived damaged', {
          ...{ sha256, fault, attempt },
          hint: 'No action needed if the second attempt succeeds. Otherwise check the disk of the Master’s file store.',
        });
        await handle.truncate(0);
      }
    } finally {
      await handle.close();
    }
    await clearAway(draft, this.#log);
    return false;
  }

  async #prepare(): Promise<void> {
    try {
      await mkdir(this.#files, { recursive: true, mode: 0o755 });
      await mkdir(this.#arriving, { recursive: true, mode: 0o700 });
      for (const name of await readdir(this.#arriving)) await this.#tidy(join(this.#arriving, name), name);
    } catch (error) {
      this.#ready = undefined;
      throw diskError(error);
    }
  }

  /** A killed process leaves a draft, which becomes a part to go on from. Parts that nobody came back for are removed. */
  async #tidy(path: string, name: string): Promise<void> {
    const found = await stat(path).catch(() => undefined); // another process was faster
    if (found === undefined) return;
    if (found.mtimeMs < Date.now() - KEEP_PARTS_MS) await clearAway(path, this.#log);
    else if (isAbandoned(name)) await rename(path, join(this.#arriving, `${name.slice(0, 64)}.part`)).catch(() => {}); // likewise
  }

  #pathsOf(files: JobFiles): FilePaths {
    return Object.fromEntries(Object.entries(files).map(([name, { sha256 }]) => [name, this.#path(sha256)]));
  }

  #path(sha256: string): string {
    return join(this.#files, sha256.slice(0, 2), sha256.slice(2));
  }
}

async function* contentOf(handle: FileHandle): AsyncGenerator<Uint8Array> {
  const buffer = Buffer.allocUnsafeSlow(READ_BYTES);
  for (let position = 0; ; ) {
    const { bytesRead } = await handle.read(buffer, { position });
    if (bytesRead === 0) return;
    position += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

async function hashOf(path: string): Promise<string> {
  const hash = createHash('sha256');
  const handle = await open(path);
  try {
    for await (const bytes of contentOf(handle)) hash.update(bytes);
  } finally {
    await handle.close();
  }
  return hash.digest('hex');
}
