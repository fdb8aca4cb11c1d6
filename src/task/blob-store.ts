import { createHash } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PeerworkError } from '../errors.js';
import { type Log, silentLog } from '../log.js';
import { BlobQuota } from './blob-quota.js';
import { diskError, isAbandoned, isMissing, unfinishedName } from './disk.js';
import { abortError, Flights } from './flights.js';
import { receiveBlob } from './receive-blob.js';

export interface BlobStoreOptions {
  /** May be shared by several processes. */
  readonly folder: string;
  /** All blobs together; the least recently used go first. Default 4 GiB. */
  readonly quotaBytes?: number;
  readonly log?: Log;
}

/** The bytes of a blob from an offset to its end, from wherever they come. */
export type OpenBlob = (offset: number, signal: AbortSignal) => AsyncIterable<Uint8Array>;

const READ_BYTES = 256 * 1024;
const DEFAULT_QUOTA_BYTES = 4 * 1024 ** 3;

/**
 * Content-addressed bytes on disk: `blobs/ab/cdef…`, named by their hexadecimal SHA-256.
 *
 * A blob comes into being by an atomic rename, so whoever sees one sees all of it, whatever process wrote it. While it is
 * on its way it is `arriving/<sha256>.<pid>.<random>`; when the stream is cut it stays as `arriving/<sha256>.rest`, and the next
 * fetch takes it from there: it copies the rest into a file of its own while hashing it, then asks for the bytes after it.
 */
export class BlobStore {
  readonly #blobs: string;
  readonly #arriving: string;
  readonly #quota: BlobQuota;
  readonly #log: Log;
  readonly #fetches = new Flights<number>();
  #opened: Promise<void> | undefined;

  constructor(options: BlobStoreOptions) {
    this.#blobs = join(options.folder, 'blobs');
    this.#arriving = join(options.folder, 'arriving');
    this.#quota = new BlobQuota(this.#blobs, options.quotaBytes ?? DEFAULT_QUOTA_BYTES);
    this.#log = options.log ?? silentLog;
  }

  /** Whether the blob is there; with a size, whether it is there in that size. */
  async has(sha256: string, size?: number): Promise<boolean> {
    try {
      const found = await stat(this.#path(sha256));
      return size === undefined || found.size === size;
    } catch (error) {
      if (isMissing(error)) return false;
      throw error;
    }
  }

  /** The whole blob. Rejects with `asset-unknown`. */
  async read(sha256: string): Promise<Buffer> {
    try {
      return await readFile(this.#path(sha256));
    } catch (error) {
      throw isMissing(error) ? new PeerworkError('asset-unknown', sha256) : error;
    }
  }

  /** The bytes from `offset` to the end. Rejects with `asset-unknown` at the first step. */
  async *open(sha256: string, offset = 0): AsyncGenerator<Uint8Array> {
    const handle = await open(this.#path(sha256)).catch((error: unknown) => {
      throw isMissing(error) ? new PeerworkError('asset-unknown', sha256) : error;
    });
    try {
      for (let position = offset; ; ) {
        const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafe(READ_BYTES), 0, READ_BYTES, position);
        if (bytesRead === 0) return;
        position += bytesRead;
        yield buffer.subarray(0, bytesRead);
      }
    } finally {
      await handle.close();
    }
  }

  /** Keeps bytes whose hash the caller has just computed. */
  async put(sha256: string, bytes: Uint8Array): Promise<void> {
    if (await this.has(sha256, bytes.length)) return this.#touch(sha256);
    await this.#open();
    const room = await this.#quota.reserve(bytes.length);
    const unfinished = join(this.#arriving, unfinishedName(sha256));
    try {
      await writeFile(unfinished, bytes, { flag: 'wx', mode: 0o600 });
      await this.#admit(unfinished, sha256);
      room.used();
    } catch (error) {
      room.giveBack();
      await rm(unfinished, { force: true });
      throw diskError(error);
    }
  }

  /**
   * Makes sure that the blob is there. Resolves to the number of bytes that had to be received: 0 if it was there already.
   * Rejects with `asset-hash-mismatch` (after a second try from the beginning), `disk-full`, or what `from` rejected with.
   * Calls for the same blob share one transfer, the first caller's.
   */
  async fetch(blob: { readonly sha256: string; readonly size: number }, from: OpenBlob, signal?: AbortSignal): Promise<number> {
    if (await this.has(blob.sha256, blob.size)) {
      await this.#touch(blob.sha256);
      return 0;
    }
    return this.#fetches.join(blob.sha256, signal, (shared) => this.#fetch(blob, from, shared));
  }

  /** Keeps these blobs from being evicted by this process until the answer is called. */
  pin(hashes: Iterable<string>): () => void {
    return this.#quota.pin(hashes);
  }

  /** Hashes the blob on disk again; one that has gone bad is removed. Answers whether it is there and sound. */
  async check(sha256: string): Promise<boolean> {
    const hash = createHash('sha256');
    try {
      for await (const bytes of this.open(sha256)) hash.update(bytes);
    } catch (error) {
      if (error instanceof PeerworkError && error.code === 'asset-unknown') return false;
      throw error;
    }
    if (hash.digest('hex') === sha256) return true;
    this.#log.warn('a blob on disk has gone bad', { sha256 });
    await rm(this.#path(sha256), { force: true });
    return false;
  }

  async #fetch({ sha256, size }: { sha256: string; size: number }, from: OpenBlob, signal: AbortSignal): Promise<number> {
    await this.#open();
    const room = await this.#quota.reserve(size);
    let received = 0;
    const rest = join(this.#arriving, `${sha256}.rest`);
    try {
      for (let attempt = 1; ; attempt++) {
        if (signal.aborted) throw abortError(signal);
        const unfinished = join(this.#arriving, unfinishedName(sha256));
        const taken = join(this.#arriving, unfinishedName(sha256));
        const result = await receiveBlob({ sha256, size, unfinished, taken, rest, from, signal });
        received += result.received;
        if (result.fault === undefined) {
          await this.#admit(unfinished, sha256);
          room.used();
          return received;
        }
        this.#log.warn('a blob arrived wrong', { sha256, fault: result.fault, attempt });
        if (attempt === 2) throw new PeerworkError('asset-hash-mismatch', `${sha256}: ${result.fault}`);
      }
    } catch (error) {
      room.giveBack();
      throw diskError(error);
    }
  }

  async #admit(unfinished: string, sha256: string): Promise<void> {
    const path = this.#path(sha256);
    try {
      await rename(unfinished, path);
    } catch (error) {
      if (!isMissing(error)) throw error;
      await mkdir(join(this.#blobs, sha256.slice(0, 2)), { recursive: true, mode: 0o700 });
      await rename(unfinished, path);
    }
  }

  async #touch(sha256: string): Promise<void> {
    const now = new Date();
    await utimes(this.#path(sha256), now, now).catch(() => {}); // evicted this instant: the next read says so
  }

  #open(): Promise<void> {
    this.#opened ??= this.#prepare().catch((error: unknown) => {
      this.#opened = undefined;
      throw diskError(error);
    });
    return this.#opened;
  }

  async #prepare(): Promise<void> {
    await mkdir(this.#blobs, { recursive: true, mode: 0o700 });
    await mkdir(this.#arriving, { recursive: true, mode: 0o700 });
    for (const name of await readdir(this.#arriving)) {
      if (!isAbandoned(name)) continue;
      const rest = `${name.split('.', 1)[0]}.rest`;
      await rename(join(this.#arriving, name), join(this.#arriving, rest)).catch(() => {}); // another process was faster
    }
  }

  #path(sha256: string): string {
    // The hash comes from other peers; it becomes part of a path only in this form.
    if (!/^[0-9a-f]{64}$/.test(sha256)) throw new PeerworkError('asset-unknown', 'not a SHA-256 in hexadecimal');
    return join(this.#blobs, sha256.slice(0, 2), sha256.slice(2));
  }
}
