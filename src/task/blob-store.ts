import { createHash } from 'node:crypto';
import { mkdir, open, readdir, readFile, rename, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PeerworkError } from '../errors.js';
import { clearAway } from '../kit/clearing.js';
import { diskError, isMissing } from '../kit/system-error.js';
import { isAbandoned, unfinishedName, writeWhole } from '../kit/whole-file.js';
import { type Log, silentLog } from '../log.js';
import { BlobQuota } from './blob-quota.js';
import { abortError, Flights } from './flights.js';

export interface BlobStoreOptions {
  /** Folder of the store; may be shared by several processes. */
  readonly folder: string;
  /** Limit for all blobs together; the least recently used are evicted first. Default 4 GiB. */
  readonly quotaBytes?: number;
  readonly log?: Log;
}

/** Opens a stream of a blob's bytes from an offset to its end. */
export type OpenBlob = (offset: number, signal: AbortSignal) => AsyncIterable<Uint8Array>;

const READ_BYTES = 1024 * 1024;
const KEEP_REST_MS = 7 * 86_400_000;
const DEFAULT_QUOTA_BYTES = 4 * 1024 ** 3;

/** The result of a fetch. */
export interface Fetched {
  /** Bytes received; 0 if the blob was already stored. */
  readonly received: number;
  /** The verified bytes; undefined if the blob was already stored. */
  readonly bytes: Uint8Array | undefined;
}

/**
 * Content-addressed bytes on disk: `blobs/ab/cdef…`, named by their hexadecimal SHA-256. Blobs are small (1 MiB; a lockfile slightly more):
 * they are received in memory, several at once, and large files consist of many.
 *
 * A blob is created by an atomic rename, so any process that sees one sees all of it. The bytes received before a stream was cut are kept
 * as `arriving/<sha256>.rest`; the next fetch requests only the rest.
 */
export class BlobStore {
  readonly #blobs: string;
  readonly #arriving: string;
  readonly #quota: BlobQuota;
  readonly #log: Log;
  readonly #fetches = new Flights<Fetched>();
  /** Blobs with a partial transfer on disk: those found at startup and those of this process. */
  readonly #rests = new Set<string>();
  #opened: Promise<void> | undefined;

  constructor(options: BlobStoreOptions) {
    this.#blobs = join(options.folder, 'blobs');
    this.#arriving = join(options.folder, 'arriving');
    this.#quota = new BlobQuota(this.#blobs, options.quotaBytes ?? DEFAULT_QUOTA_BYTES);
    this.#log = options.log ?? silentLog;
  }

  /** Returns whether the blob is stored; with a size, whether it has that size. */
  async has(sha256: string, size?: number): Promise<boolean> {
    try {
      const found = await stat(this.#path(sha256));
      return size === undefined || found.size === size;
    } catch (error) {
      if (isMissing(error)) return false;
      throw error;
    }
  }

  /** Reads and verifies a blob; one that was damaged on disk is removed. Rejects with `asset-unknown`. */
  async read(sha256: string): Promise<Buffer> {
    const path = this.#path(sha256);
    const bytes = await readFile(path).catch((error: unknown) => {
      throw isMissing(error) ? new PeerworkError('asset-unknown', sha256) : error;
    });
    if (createHash('sha256').update(bytes).digest('hex') === sha256) return bytes;
    this.#log.warn('a blob on disk is damaged', {
      sha256,
      hint: 'No action needed; it is fetched again. If it recurs, the disk is failing: check `dmesg`.',
    });
    await clearAway(path, this.#log);
    throw new PeerworkError('asset-unknown', sha256);
  }

  /** Streams the bytes from `offset` to the end, unverified. Rejects with `asset-unknown` on the first read. */
  async *open(sha256: string, offset = 0): AsyncGenerator<Uint8Array> {
    const handle = await open(this.#path(sha256)).catch((error: unknown) => {
      throw isMissing(error) ? new PeerworkError('asset-unknown', sha256) : error;
    });
    try {
      const { size } = await handle.stat();
      for (let position = offset; position < size; ) {
        const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafeSlow(Math.min(READ_BYTES, size - position)), { position });
        if (bytesRead === 0) return;
        position += bytesRead;
        yield bytesRead === buffer.length ? buffer : buffer.subarray(0, bytesRead);
      }
    } finally {
      await handle.close();
    }
  }

  /** Stores bytes whose hash the caller has just computed. */
  async put(sha256: string, bytes: Uint8Array): Promise<void> {
    if (await this.has(sha256, bytes.length)) return this.#touch(sha256);
    await this.#open();
    const room = await this.#quota.reserve(bytes.length);
    try {
      await this.#write(sha256, bytes);
      room.used();
    } catch (error) {
      room.giveBack();
      throw diskError(error);
    }
  }

  /**
   * Fetches a blob unless it is stored. Rejects with `asset-hash-mismatch` (after a second attempt from the beginning), `disk-full`, or the
   * error of `from`. Concurrent calls for the same blob share one transfer, the first caller's.
   */
  async fetch(blob: { readonly sha256: string; readonly size: number }, from: OpenBlob, signal?: AbortSignal): Promise<Fetched> {
    if (await this.has(blob.sha256, blob.size)) {
      await this.#touch(blob.sha256);
      return { received: 0, bytes: undefined };
    }
    return this.#fetches.join(blob.sha256, signal, (shared) => this.#fetch(blob, from, shared));
  }

  /** Keeps this process from evicting these blobs until the returned function is called. */
  pin(hashes: Iterable<string>): () => void {
    return this.#quota.pin(hashes);
  }

  async #fetch({ sha256, size }: { sha256: string; size: number }, from: OpenBlob, signal: AbortSignal): Promise<Fetched> {
    await this.#open();
    const room = await this.#quota.reserve(size);
    let received = 0;
    try {
      for (let attempt = 1; ; attempt++) {
        if (signal.aborted) throw abortError(signal);
        const rest = await this.#takeRest(sha256);
        const result = await receiveBlob({ sha256, size, rest, from, signal, keepRest: (bytes) => this.#keepRest(sha256, bytes) });
        received += result.received;
        if ('bytes' in result) {
          await this.#write(sha256, result.bytes);
          room.used();
          return { received, bytes: result.bytes };
        }
        this.#log.warn('a blob arrived damaged', {
          sha256,
          fault: result.fault,
          attempt,
          hint: 'No action needed if the second attempt succeeds. Otherwise check the Master’s disk and restart the Master, so that it publishes the task again.',
        });
        if (attempt === 2) throw new PeerworkError('asset-hash-mismatch', `${sha256}: ${result.fault}`);
      }
    } catch (error) {
      room.giveBack();
      throw diskError(error);
    }
  }

  async #write(sha256: string, bytes: Uint8Array): Promise<void> {
    const unfinished = join(this.#arriving, unfinishedName(sha256));
    try {
      await writeFile(unfinished, bytes, { flag: 'wx', mode: 0o600 });
      await this.#moveIntoPlace(unfinished, sha256);
    } catch (error) {
      await clearAway(unfinished, this.#log);
      throw error;
    }
  }

  async #moveIntoPlace(unfinished: string, sha256: string): Promise<void> {
    const path = this.#path(sha256);
    try {
      await rename(unfinished, path);
    } catch (error) {
      if (!isMissing(error)) throw error;
      await mkdir(join(this.#blobs, sha256.slice(0, 2)), { recursive: true, mode: 0o700 });
      await rename(unfinished, path);
    }
  }

  async #takeRest(sha256: string): Promise<Buffer | undefined> {
    if (!this.#rests.delete(sha256)) return undefined;
    const path = join(this.#arriving, `${sha256}.rest`);
    const bytes = await readFile(path).catch(() => undefined); // taken by another process
    await clearAway(path, this.#log);
    return bytes;
  }

  async #keepRest(sha256: string, bytes: Uint8Array): Promise<void> {
    try {
      await writeWhole(join(this.#arriving, `${sha256}.rest`), bytes);
      this.#rests.add(sha256);
    } catch (error) {
      this.#log.warn('a partial blob could not be stored', {
        sha256,
        error,
        hint: 'Free space on the disk of `--home`, and make it writable for this user; until then interrupted transfers start over.',
      });
    }
  }

  async #touch(sha256: string): Promise<void> {
    const now = new Date();
    await utimes(this.#path(sha256), now, now).catch(() => {}); // evicted just now: the next read reports it
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
      const path = join(this.#arriving, name);
      if (isAbandoned(name)) await clearAway(path, this.#log);
      if (name.endsWith('.rest') && !(await this.#removeOld(path))) this.#rests.add(name.slice(0, -'.rest'.length));
    }
  }

  /** Removes an old partial transfer: nobody resumed it, so its task no longer exists. */
  async #removeOld(path: string): Promise<boolean> {
    const found = await stat(path).catch(() => undefined); // removed by another process
    if (found !== undefined && found.mtimeMs > Date.now() - KEEP_REST_MS) return false;
    await clearAway(path, this.#log);
    return true;
  }

  #path(sha256: string): string {
    // The hash comes from other peers: it must have this form to become part of a path.
    if (!/^[0-9a-f]{64}$/.test(sha256)) throw new PeerworkError('asset-unknown', 'not a SHA-256 in hexadecimal');
    return join(this.#blobs, sha256.slice(0, 2), sha256.slice(2));
  }
}

interface BlobArrival {
  readonly sha256: string;
  readonly size: number;
  /** Bytes of an earlier, interrupted transfer; no more trustworthy than any others. */
  readonly rest: Uint8Array | undefined;
  readonly from: (offset: number, signal: AbortSignal) => AsyncIterable<Uint8Array>;
  readonly signal: AbortSignal;
  /** Stores what was received before the stream was cut. */
  readonly keepRest: (bytes: Uint8Array) => Promise<void>;
}

/** `received` counts the bytes of the stream only; `fault` describes the mismatch with what was announced. */
type BlobReceived = { readonly received: number } & ({ readonly bytes: Uint8Array } | { readonly fault: string });

/**
 * Receives one blob into memory and verifies it. Stops the stream at the first byte beyond the announced size. Rejects with the stream's
 * error.
 */
async function receiveBlob({ sha256, size, rest, from, signal, keepRest }: BlobArrival): Promise<BlobReceived> {
  // Not from Node's shared pool, and not zeroed: every byte is written before it is read.
  const bytes = Buffer.allocUnsafeSlow(size);
  let length = 0;
  if (rest !== undefined && rest.length <= size) {
    bytes.set(rest);
    length = rest.length;
  }
  let received = 0;
  if (length < size) {
    try {
      for await (const piece of from(length, signal)) {
        if (signal.aborted) throw abortError(signal);
        received += piece.length;
        if (length + piece.length > size) return { received, fault: `more than the ${size} bytes announced` };
        bytes.set(piece, length);
        length += piece.length;
      }
    } catch (error) {
      if (length > 0) await keepRest(bytes.subarray(0, length));
      throw error;
    }
  }
  if (length < size) return { received, fault: `${length} of the ${size} bytes announced` };
  if (createHash('sha256').update(bytes).digest('hex') !== sha256) return { received, fault: 'other content' };
  return { received, bytes };
}
