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
  /** May be shared by several processes. */
  readonly folder: string;
  /** All blobs together; the least recently used go first. Default 4 GiB. */
  readonly quotaBytes?: number;
  readonly log?: Log;
}

/** The bytes of a blob from an offset to its end, from wherever they come. */
export type OpenBlob = (offset: number, signal: AbortSignal) => AsyncIterable<Uint8Array>;

const READ_BYTES = 1024 * 1024;
const KEEP_REST_MS = 7 * 86_400_000;
const DEFAULT_QUOTA_BYTES = 4 * 1024 ** 3;

/** What a fetch brought. */
export interface Fetched {
  /** 0 if the blob was there already. */
  readonly received: number;
  /** Verified; undefined if the blob was there already. */
  readonly bytes: Uint8Array | undefined;
}

/**
 * Content-addressed bytes on disk: `blobs/ab/cdef…`, named by their hexadecimal SHA-256. Blobs are small (1 MiB, a lockfile a little
 * more): they are received in memory, several at once, and large files consist of many.
 *
 * A blob comes into being by an atomic rename, so whoever sees one sees all of it, whatever process wrote it. What had come of
 * one when its stream was cut stays as `arriving/<sha256>.rest`; the next fetch asks only for the bytes after it.
 */
export class BlobStore {
  readonly #blobs: string;
  readonly #arriving: string;
  readonly #quota: BlobQuota;
  readonly #log: Log;
  readonly #fetches = new Flights<Fetched>();
  /** Of which blobs there is a rest: those found at the beginning and those of this process. */
  readonly #rests = new Set<string>();
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

  /** The whole blob, verified: one that has gone bad on disk is removed. Rejects with `asset-unknown`. */
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

  /** The bytes from `offset` to the end, as they are on disk. Rejects with `asset-unknown` at the first step. */
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

  /** Keeps bytes whose hash the caller has just computed. */
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
   * Makes sure that the blob is there.
   * Rejects with `asset-hash-mismatch` (after a second try from the beginning), `disk-full`, or what `from` rejected with.
   * Calls for the same blob share one transfer, the first caller's.
   */
  async fetch(blob: { readonly sha256: string; readonly size: number }, from: OpenBlob, signal?: AbortSignal): Promise<Fetched> {
    if (await this.has(blob.sha256, blob.size)) {
      await this.#touch(blob.sha256);
      return { received: 0, bytes: undefined };
    }
    return this.#fetches.join(blob.sha256, signal, (shared) => this.#fetch(blob, from, shared));
  }

  /** Keeps these blobs from being evicted by this process until the answer is called. */
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
      await this.#admit(unfinished, sha256);
    } catch (error) {
      await clearAway(unfinished, this.#log);
      throw error;
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

  async #takeRest(sha256: string): Promise<Buffer | undefined> {
    if (!this.#rests.delete(sha256)) return undefined;
    const path = join(this.#arriving, `${sha256}.rest`);
    const bytes = await readFile(path).catch(() => undefined); // another process has taken it
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
      const path = join(this.#arriving, name);
      if (isAbandoned(name)) await clearAway(path, this.#log);
      if (name.endsWith('.rest') && !(await this.#removeOld(path))) this.#rests.add(name.slice(0, -'.rest'.length));
    }
  }

  /** A rest that nobody came back for belongs to a task that is no more. */
  async #removeOld(path: string): Promise<boolean> {
    const found = await stat(path).catch(() => undefined); // another process was faster
    if (found !== undefined && found.mtimeMs > Date.now() - KEEP_REST_MS) return false;
    await clearAway(path, this.#log);
    return true;
  }

  #path(sha256: string): string {
    // The hash comes from other peers; it becomes part of a path only in this form.
    if (!/^[0-9a-f]{64}$/.test(sha256)) throw new PeerworkError('asset-unknown', 'not a SHA-256 in hexadecimal');
    return join(this.#blobs, sha256.slice(0, 2), sha256.slice(2));
  }
}

interface BlobArrival {
  readonly sha256: string;
  readonly size: number;
  /** What an earlier transfer that was cut had brought; its bytes are no better than any others. */
  readonly rest: Uint8Array | undefined;
  readonly from: (offset: number, signal: AbortSignal) => AsyncIterable<Uint8Array>;
  readonly signal: AbortSignal;
  /** Takes what had come when the stream was cut. */
  readonly keepRest: (bytes: Uint8Array) => Promise<void>;
}

/** `received` counts the bytes of the stream alone; `fault` says what was not as announced. */
type BlobReceived = { readonly received: number } & ({ readonly bytes: Uint8Array } | { readonly fault: string });

/**
 * Receives one blob into memory and verifies it. Stops a stream at the first byte beyond the announced size. Rejects with what the
 * stream rejects with.
 */
async function receiveBlob({ sha256, size, rest, from, signal, keepRest }: BlobArrival): Promise<BlobReceived> {
  // Not from Node's shared pool, and not cleared: every byte is written before anybody reads it.
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
