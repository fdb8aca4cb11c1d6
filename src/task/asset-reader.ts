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

interface ReadFile {
  readonly fingerprint: string;
  readonly file: ManifestFile;
}

/**
 * Reads files into a blob store and describes them for a manifest. A file whose inode, size, mode and times are unchanged is not read
 * again.
 */
export class AssetReader {
  readonly #store: BlobStore;
  #entries = new Map<string, ReadFile>();

  constructor(store: BlobStore) {
    this.#store = store;
  }

  /** Returns undefined if a file changed or vanished while it was read: list and read again. */
  async readAll(assets: readonly AssetFile[], maxBytes: number, signal: AbortSignal): Promise<ManifestFile[] | undefined> {
    const entries = new Map<string, ReadFile>();
    const files: ManifestFile[] = [];
    let room = maxBytes;
    for (const asset of assets) {
      signal.throwIfAborted();
      const read = await this.#read(asset, room);
      if (read === undefined) return undefined;
      if (read.fingerprint !== '') entries.set(asset.file, read);
      files.push({ ...read.file, path: asset.path });
      room -= read.file.size;
    }
    this.#entries = entries;
    return files;
  }

  forget(): void {
    this.#entries.clear();
  }

  async #read(asset: AssetFile, room: number): Promise<ReadFile | undefined> {
    const handle = await open(asset.file).catch((error: unknown) => {
      if (isMissing(error)) return undefined;
      throw error;
    });
    if (handle === undefined) return undefined;
    try {
      const before = await handle.stat({ bigint: true });
      // Check before reading: an entire disk passed as a task by mistake must not be copied first.
      if (before.size > room) throw new PeerworkError('asset-too-large', `with ${asset.path} it has more than the bytes allowed`);
      const fingerprint = fingerprintOf(before);
      const known = this.#entries.get(asset.file);
      if (known?.fingerprint === fingerprint) return known;
      const readAtMs = Date.now();
      const blobs: Blob[] = [];
      let size = 0;
      const store = async (bytes: Uint8Array) => {
        const sha256 = createHash('sha256').update(bytes).digest('hex');
        if (bytes.length > 0) await this.#store.put(sha256, bytes);
        blobs.push({ sha256, size: bytes.length });
        size += bytes.length;
      };
      const chunked = before.size > CHUNKED_ABOVE_BYTES;
      if (chunked) {
        for await (const chunk of chunks(handle.createReadStream({ autoClose: false, highWaterMark: READ_BYTES }))) await store(chunk);
      } else {
        const bytes = await handle.readFile();
        if (bytes.length > CHUNKED_ABOVE_BYTES) return undefined; // it grew in the meantime
        await store(bytes);
      }
      if (fingerprintOf(await handle.stat({ bigint: true })) !== fingerprint || BigInt(size) !== before.size) return undefined;
      const mode = (before.mode & 0o111n) === 0n ? 0o644 : 0o755;
      const sha256 = chunked ? chunksHash(blobs) : (blobs[0]?.sha256 ?? '');
      const file: ManifestFile = { path: asset.path, sha256, size, mode, ...(chunked && { chunks: blobs }) };
      return { fingerprint: Number(before.ctimeMs) > readAtMs - RACY_MS ? '' : fingerprint, file };
    } finally {
      await handle.close();
    }
  }
}

function fingerprintOf({ dev, ino, size, mode, mtimeNs, ctimeNs }: BigIntStats): string {
  return [dev, ino, size, mode, mtimeNs, ctimeNs].join(' ');
}
