import { type FileHandle, mkdir, open, readdir, rename, rm, stat, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { PeerworkError } from '../errors.js';
import { removeTree } from '../kit/remove-tree.js';
import { diskError, isMissing } from '../kit/system-error.js';
import { writeAll } from '../kit/whole-file.js';
import type { FileStore, Upload } from './file-store.js';

const READ_BYTES = 256 * 1024;

/** A file store in a folder: `files/ab/<key>`, where `ab` begins the hash, and `uploads/<name>`. A key appears by an atomic rename. */
export class FolderStore implements FileStore {
  readonly #folder: string;
  readonly #temporary: boolean;
  readonly #open = new Map<string, FolderUpload>();
  #turn: Promise<void> = Promise.resolve();
  #ready: Promise<void> | undefined;

  /** `temporary`: it is removed on `close`. */
  constructor(folder: string, { temporary = false }: { readonly temporary?: boolean } = {}) {
    this.#folder = folder;
    this.#temporary = temporary;
  }

  upload(name: string): Promise<Upload> {
    // One after the other: of two that open the same upload, the first must have left before the second reads its length.
    const opened = this.#turn.then(() => this.#take(name));
    this.#turn = opened.then(
      () => {},
      () => {},
    );
    return opened;
  }

  async #take(name: string): Promise<FolderUpload> {
    this.#ready ??= this.#prepare();
    await this.#ready;
    await this.#open.get(name)?.leave();
    const path = join(this.#folder, 'uploads', name);
    const handle = await open(path, 'a+', 0o600).catch((error: unknown) => Promise.reject(diskError(error)));
    const { size } = await handle.stat();
    const upload = new FolderUpload(
      handle,
      path,
      size,
      (key) => this.#path(key),
      () => {
        if (this.#open.get(name) === upload) this.#open.delete(name);
      },
    );
    this.#open.set(name, upload);
    return upload;
  }

  async *read(key: string, offset = 0, end = Number.POSITIVE_INFINITY): AsyncGenerator<Uint8Array> {
    const handle = await open(this.#path(key)).catch((error: unknown) => {
      throw isMissing(error) ? new PeerworkError('file-lost', key) : error;
    });
    try {
      yield* bytesOf(handle, offset, end);
    } finally {
      await handle.close();
    }
  }

  async freeBytes(): Promise<number> {
    this.#ready ??= this.#prepare();
    await this.#ready;
    const { bavail, bsize } = await statfs(this.#folder);
    return bavail * bsize;
  }

  async remove(key: string): Promise<void> {
    await rm(this.#path(key), { force: true });
  }

  async *keys(before: number): AsyncGenerator<string> {
    for (const prefix of await readdir(join(this.#folder, 'files')).catch(() => []))
      for (const key of await readdir(join(this.#folder, 'files', prefix)).catch(() => [])) {
        const found = await stat(this.#path(key)).catch(() => undefined); // swept meanwhile
        if (found !== undefined && found.mtimeMs < before) yield key;
      }
  }

  async removeUploads(before: number): Promise<void> {
    const folder = join(this.#folder, 'uploads');
    for (const name of await readdir(folder).catch(() => [])) {
      if (this.#open.has(name)) continue;
      const path = join(folder, name);
      const found = await stat(path).catch(() => undefined); // finished meanwhile
      if (found !== undefined && found.mtimeMs < before) await rm(path, { force: true });
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#open.values()].map((upload) => upload.leave()));
    if (this.#temporary) await removeTree(this.#folder);
  }

  async #prepare(): Promise<void> {
    for (const folder of ['files', 'uploads']) await mkdir(join(this.#folder, folder), { recursive: true, mode: 0o700 });
  }

  #path(key: string): string {
    return join(this.#folder, 'files', key.slice(0, 2), key);
  }
}

class FolderUpload implements Upload {
  readonly #path: string;
  readonly #pathOf: (key: string) => string;
  readonly #onEnd: () => void;
  #handle: FileHandle | undefined;
  #length: number;

  constructor(handle: FileHandle, path: string, length: number, pathOf: (key: string) => string, onEnd: () => void) {
    this.#handle = handle;
    this.#path = path;
    this.#length = length;
    this.#pathOf = pathOf;
    this.#onEnd = onEnd;
  }

  get length(): number {
    return this.#length;
  }

  read(): AsyncIterable<Uint8Array> {
    return bytesOf(this.#writable(), 0, this.#length);
  }

  async append(bytes: Uint8Array): Promise<void> {
    const handle = this.#writable();
    try {
      await writeAll(handle, bytes);
      this.#length += bytes.length;
    } catch (error) {
      // A part may have been written: the next opener goes on from what is there.
      throw diskError(error);
    }
  }

  async finish(key: string): Promise<void> {
    const handle = this.#writable();
    // It is named as safe to whoever sent it, who then forgets it.
    await handle.sync();
    await this.leave();
    const path = this.#pathOf(key);
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    await rename(this.#path, path);
  }

  async discard(): Promise<void> {
    await this.leave();
    await rm(this.#path, { force: true });
  }

  async leave(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    this.#onEnd();
    await handle?.close();
  }

  #writable(): FileHandle {
    if (this.#handle === undefined) throw new PeerworkError('upload-position', 'another connection has taken the upload over');
    return this.#handle;
  }
}

async function* bytesOf(handle: FileHandle, offset: number, end: number): AsyncGenerator<Uint8Array> {
  for (let position = offset; position < end; ) {
    const { bytesRead, buffer } = await handle.read(Buffer.allocUnsafeSlow(Math.min(READ_BYTES, end - position)), { position });
    if (bytesRead === 0) return;
    position += bytesRead;
    yield bytesRead === buffer.length ? buffer : buffer.subarray(0, bytesRead);
  }
}
