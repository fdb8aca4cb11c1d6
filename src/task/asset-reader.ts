import { createHash } from 'node:crypto';
import type { BigIntStats } from 'node:fs';
import { open } from 'node:fs/promises';
import { PeerworkError } from '../errors.js';
import { isMissing } from '../kit/system-error.js';
import type { BlobStore } from './blob-store.js';
import { CHUNKED_ABOVE_BYTES, chunks } from './chunk.js';
import type { AssetFile } from './listing.js';
import { type Blob, chunksHash, type ManifestFile } from './manifest.js';

const READ_BYTES = 2 * 1024 * 1024;
/** A file changed twice within the resolution of the file system's clock looks unchanged the second time. */
const RACY_MS = 2_000;

interface Known {
  readonly print: string;
  readonly file: ManifestFile;
}

/** Reads files into a blob store and describes them; a file whose inode, size and times are unchanged is not read again. */
export class AssetReader {
  readonly #store: BlobStore;
  #known = new Map<string, Known>();

  constructor(store: BlobStore) {
    this.#store = store;
  }

  /** Undefined if a file changed or vanished while it was read: list and read again. */
  async readAll(assets: readonly AssetFile[], maxBytes: number, signal: AbortSignal): Promise<ManifestFile[] | undefined> {
    const known = new Map<string, Known>();
    const files: ManifestFile[] = [];
    let room = maxBytes;
    for (const asset of assets) {
      signal.throwIfAborted();
      const read = await this.#read(asset, room);
      if (read === undefined) return undefined;
      if (read.print !== '') known.set(asset.file, read);
      files.push({ ...read.file, path: asset.path });
      room -= read.file.size;
    }
    this.#known = known;
    return files;
  }

  forget(): void {
    this.#known.clear();
  }

  async #read(asset: AssetFile, room: number): Promise<Known | undefined> {
    const handle = await open(asset.file).catch((error: unknown) => {
      if (isMissing(error)) return undefined;
      throw error;
    });
    if (handle === undefined) return undefined;
    try {
      const before = await handle.stat({ bigint: true });
      // Before it is read: a whole disk given as a task by mistake must not be copied first.
      if (before.size > room) throw new PeerworkError('asset-too-large', `with ${asset.path} it has more than the bytes allowed`);
      const print = fingerprint(before);
      const known = this.#known.get(asset.file);
      if (known?.print === print) return known;
      const readAtMs = Date.now();
      const blobs: Blob[] = [];
      let size = 0;
      const keep = async (bytes: Uint8Array) => {
        const sha256 = createHash('sha256').update(bytes).digest('hex');
        if (bytes.length > 0) await this.#store.put(sha256, bytes);
        blobs.push({ sha256, size: bytes.length });
        size += bytes.length;
      };
      const chunked = before.size > CHUNKED_ABOVE_BYTES;
      if (chunked) {
        for await (const chunk of chunks(handle.createReadStream({ autoClose: false, highWaterMark: READ_BYTES }))) await keep(chunk);
      } else {
        const bytes = await handle.readFile();
        if (bytes.length > CHUNKED_ABOVE_BYTES) return undefined; // it grew meanwhile
        await keep(bytes);
      }
      if (fingerprint(await handle.stat({ bigint: true })) !== print || BigInt(size) !== before.size) return undefined;
      const mode = (before.mode & 0o111n) === 0n ? 0o644 : 0o755;
      const sha256 = chunked ? chunksHash(blobs) : (blobs[0]?.sha256 ?? '');
      const file: ManifestFile = { path: asset.path, sha256, size, mode, ...(chunked && { chunks: blobs }) };
      return { print: Number(before.ctimeMs) > readAtMs - RACY_MS ? '' : print, file };
    } finally {
      await handle.close();
    }
  }
}

function fingerprint({ dev, ino, size, mode, mtimeNs, ctimeNs }: BigIntStats): string {
  return [dev, ino, size, mode, mtimeNs, ctimeNs].join(' ');
}
