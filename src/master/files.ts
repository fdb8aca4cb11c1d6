import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { Clock, Timer } from '../clock.js';
import { PeerworkError } from '../errors.js';
import type { FileRef } from '../job/files.js';
import type { JobInput } from '../job/job.js';
import { MAX_FILE_BYTES } from '../job/limits.js';
import type { LeaseKey } from '../job/verbs.js';
import { fileError } from '../kit/system-error.js';
import type { Ledger, WorkerRef } from '../ledger/ledger.js';
import type { Log } from '../log.js';
import { type FileStore, keyOf, seqOf, type Upload } from '../task/file-store.js';

/** A file for a job: a path on this machine, the content itself, a stream of it, or a reference to content that is stored already. */
export type FileSource = string | Uint8Array | AsyncIterable<Uint8Array> | FileRef;

/** A job whose files are still to be stored. */
export interface JobWithFiles extends Omit<JobInput, 'files'> {
  /** By name, the path under which the run finds the file. */
  readonly files?: Readonly<Record<string, FileSource>>;
}

/** Content that no job names is kept this long after it was stored, for a push that is still to come. */
const UNNAMED_MS = 86_400_000;
const SWEEP_MS = 3_600_000;
const SWEEP_FILES = 256;
/** Paths whose content is known: thousands of jobs may name the same one. */
const MAX_KNOWN_PATHS = 10_000;
const LEAST_FREE_BYTES = 256 * 1024 * 1024;
const READ_BYTES = 1024 * 1024;
/** Jobs whose files are stored side by side: they share the ledger's transactions. */
const STORED_AT_ONCE = 8;

export interface MasterFilesOptions {
  readonly ledger: Ledger;
  readonly store: FileStore;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * The content of job files: stored once per content, whatever its names are, and kept as long as a job names it. The ledger has the entries, the store
 * the bytes. An entry is written after its bytes and removed before them, so an entry always has its bytes; bytes without an entry are swept.
 */
export class MasterFiles {
  readonly #options: MasterFilesOptions;
  /** References by path and the facts that change with its content. */
  readonly #paths = new Map<string, { readonly facts: string; readonly file: FileRef }>();
  /** Paths that are being read. */
  readonly #storing = new Map<string, Promise<FileRef>>();
  #timer: Timer | undefined;
  #sweeping: Promise<void> = Promise.resolve();

  constructor(options: MasterFilesOptions) {
    this.#options = options;
  }

  start(): void {
    this.#sweepLater();
  }

  async close(): Promise<void> {
    this.#timer?.cancel();
    await this.#sweeping;
    await this.#options.store.close();
  }

  /** Stores the files of jobs and puts references in their place. Rejects with `file-…`, `disk-full` or `job-invalid`. */
  async stored(jobs: readonly JobWithFiles[]): Promise<readonly JobInput[]> {
    if (jobs.every(({ files }) => files === undefined)) return jobs as readonly JobInput[];
    const stored = [...jobs];
    const queue = jobs.entries();
    const lane = async () => {
      for (const [index, job] of queue) stored[index] = await this.#storedJob(job);
    };
    await Promise.all(Array.from({ length: STORED_AT_ONCE }, lane));
    return stored as JobInput[];
  }

  async #storedJob(job: JobWithFiles): Promise<JobWithFiles> {
    // Anything else is refused by the ledger, like any other field.
    if (typeof job.files !== 'object' || job.files === null || Array.isArray(job.files)) return job;
    const files: [string, FileRef][] = [];
    for (const [name, source] of Object.entries(job.files)) files.push([name, await this.put(source)]);
    return { ...job, files: Object.fromEntries(files) };
  }

  /** Stores one file, or finds it stored. A reference is returned as it is: the ledger checks it. */
  async put(source: FileSource): Promise<FileRef> {
    if (typeof source === 'string') {
      const underWay = this.#storing.get(source);
      if (underWay !== undefined) return underWay;
      const storing = this.#putPath(source).finally(() => this.#storing.delete(source));
      this.#storing.set(source, storing);
      return storing;
    }
    if (source instanceof Uint8Array) return this.#putStream([source]);
    if (Symbol.asyncIterator in source) return this.#putStream(source);
    return source;
  }

  /** How much of this content is here: all of it, or what an upload of this sender that has not ended has brought. */
  async lengthOf(sha256: string, sender = ''): Promise<{ readonly length: number; readonly complete: boolean }> {
    const { ledger, store, clock } = this.#options;
    const found = await ledger.files.use(sha256, clock.now());
    if (found !== undefined) return { length: found.size, complete: true };
    const upload = await store.upload(uploadName(sha256, sender));
    await upload.leave();
    return { length: upload.length, complete: false };
  }

  /**
   * Takes a part of content whose hash is known: the bytes from `offset` on, of `size` in all (undefined: this is the rest). Returns how much there is.
   * Rejects with `upload-position` if the upload is not at `offset`, `file-mismatch` if the whole does not have this hash, which discards it.
   */
  async receive(
    sha256: string,
    { offset, size }: { readonly offset: number; readonly size: number | undefined },
    source: AsyncIterable<Uint8Array>,
    sender = '',
  ): Promise<{ readonly length: number; readonly complete: boolean }> {
    const { ledger, store, clock } = this.#options;
    const found = await ledger.files.use(sha256, clock.now());
    if (found !== undefined) return { length: found.size, complete: true };
    const upload = await store.upload(uploadName(sha256, sender));
    try {
      if (upload.length !== offset) throw new PeerworkError('upload-position', `${upload.length} bytes are here, not ${offset}`);
      await this.#checkRoom((size ?? 0) - offset);
      await append(upload, source, size ?? MAX_FILE_BYTES);
      if (size !== undefined && upload.length < size) return { length: upload.length, complete: false };
      const { size: length } = await this.#finish(upload, sha256);
      return { length, complete: true };
    } finally {
      await upload.leave();
    }
  }

  /** Stored content and its size; undefined if it is not stored. */
  async content(
    sha256: string,
  ): Promise<{ readonly size: number; read(offset: number, end: number): AsyncIterable<Uint8Array> } | undefined> {
    const { ledger, store, clock } = this.#options;
    const file = await ledger.files.use(sha256, clock.now());
    return file && { size: file.size, read: (offset, end) => store.read(keyOf(file), offset, end) };
  }

  /** The content of a file of a job that this worker runs, from `offset`. Rejects with `file-unknown` if its job does not name it. */
  async *read(worker: WorkerRef, key: LeaseKey, sha256: string, offset: number): AsyncGenerator<Uint8Array> {
    const { ledger, store, log } = this.#options;
    const file = await ledger.files.ofLease(worker, key, sha256);
    if (file === undefined) throw new PeerworkError('file-unknown', `SHA-256 ${sha256}`);
    try {
      yield* store.read(keyOf(file), offset, file.size);
    } catch (error) {
      if (error instanceof PeerworkError && error.code === 'file-lost')
        log.error('the content of a stored file is missing', { sha256, hint: error.hint });
      throw error;
    }
  }

  /** Content that was stored just before this process was killed, and never entered. */
  async #removeOrphans(before: number): Promise<void> {
    const { ledger, store } = this.#options;
    let keys: string[] = [];
    const check = async () => {
      const known = await ledger.files.known(keys.flatMap((key) => seqOf(key) ?? []));
      for (const key of keys) if (!known.has(seqOf(key) ?? -1)) await store.remove(key);
      keys = [];
    };
    for await (const key of store.keys(before)) {
      keys.push(key);
      if (keys.length === SWEEP_FILES) await check();
    }
    if (keys.length > 0) await check();
  }

  async #putPath(path: string): Promise<FileRef> {
    try {
      const found = await stat(path, { bigint: true });
      // A device or a pipe has no end, or no content to hash twice.
      if (!found.isFile())
        throw new PeerworkError(found.isDirectory() ? 'path-is-folder' : 'file-missing', `${path} is not an ordinary file`);
      const facts = [found.dev, found.ino, found.size, found.mtimeNs, found.ctimeNs].join(' ');
      const known = this.#paths.get(path);
      if (known?.facts === facts && (await this.#options.ledger.files.use(known.file.sha256, this.#options.clock.now())) !== undefined)
        return known.file;
      const file = await this.#putStream(createReadStream(path, { highWaterMark: READ_BYTES }));
      this.#paths.delete(path);
      const [oldest] = this.#paths.keys();
      if (this.#paths.size >= MAX_KNOWN_PATHS && oldest !== undefined) this.#paths.delete(oldest);
      this.#paths.set(path, { facts, file });
      return file;
    } catch (error) {
      throw fileError(error, 'file-missing', path);
    }
  }

  async #putStream(source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): Promise<FileRef> {
    const upload = await this.#options.store.upload(randomUUID());
    const hash = createHash('sha256');
    try {
      await append(upload, source, MAX_FILE_BYTES, (bytes) => hash.update(bytes));
      return await this.#enter(upload, hash.digest('hex'));
    } catch (error) {
      await upload.discard().catch(() => {}); // the first error says more
      throw error;
    }
  }

  /** Rejects with `disk-full` rather than fill the disk, where the ledger may be too. */
  async #checkRoom(bytes: number): Promise<void> {
    const free = await this.#options.store.freeBytes();
    if (free - bytes < LEAST_FREE_BYTES) throw new PeerworkError('disk-full', `${free} bytes are left for files of jobs`);
  }

  /** Once, after the last part: parts may be many. */
  async #finish(upload: Upload, announced: string): Promise<FileRef> {
    const hash = createHash('sha256');
    for await (const bytes of upload.read()) hash.update(bytes);
    const sha256 = hash.digest('hex');
    if (sha256 === announced) return this.#enter(upload, sha256);
    await upload.discard();
    throw new PeerworkError('file-mismatch', `SHA-256 ${announced} was announced, ${sha256} came`);
  }

  /** Makes complete content an entry, unless there is one. */
  async #enter(upload: Upload, sha256: string): Promise<FileRef> {
    const { ledger, store, clock } = this.#options;
    const file = { sha256, size: upload.length };
    if ((await ledger.files.use(file.sha256, clock.now())) !== undefined) {
      await upload.discard();
      return file;
    }
    const entry = { ...file, seq: await ledger.files.draw() };
    await upload.finish(keyOf(entry));
    const kept = await ledger.files.enter(entry, clock.now());
    if (kept.seq !== entry.seq) await store.remove(keyOf(entry));
    return file;
  }

  #sweepLater(): void {
    this.#timer = this.#options.clock.after(
      SWEEP_MS,
      () => {
        this.#sweeping = this.sweep().then(() => this.#sweepLater());
      },
      { unref: true },
    );
  }

  /** Removes content that no job names, and uploads that nobody has gone on with, each after a day. Never rejects. */
  async sweep(): Promise<void> {
    const { ledger, store, clock, log } = this.#options;
    try {
      for (;;) {
        const swept = await ledger.files.sweep(clock.now() - UNNAMED_MS, SWEEP_FILES);
        for (const file of swept) await store.remove(keyOf(file));
        if (swept.length > 0) log.info('files that no job needs were removed', { files: swept.length });
        if (swept.length < SWEEP_FILES) break;
      }
      await store.removeUploads(clock.wall() - UNNAMED_MS);
      await this.#removeOrphans(clock.wall() - UNNAMED_MS);
    } catch (error) {
      log.warn('files that no job needs could not be removed', {
        error,
        hint: 'No action needed if it passes; it is tried again in an hour. Otherwise check the disk of the file store and the ledger.',
      });
    }
  }
}

/** Two Workers may send the same content at once, each at its own pace. */
function uploadName(sha256: string, sender: string): string {
  return sender === '' ? sha256 : `${sha256}-${createHash('sha256').update(sender).digest('hex').slice(0, 16)}`;
}

async function append(
  upload: Upload,
  source: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  maxBytes: number,
  onBytes?: (bytes: Uint8Array) => void,
): Promise<void> {
  for await (const bytes of source) {
    if (upload.length + bytes.length > maxBytes) throw new PeerworkError('file-too-large', `more than ${maxBytes} bytes`);
    if (bytes.length === 0) continue;
    onBytes?.(bytes);
    await upload.append(bytes);
  }
}
