import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { PeerworkError } from '../errors.js';
import { removeTree } from '../kit/remove-tree.js';
import { isMissing } from '../kit/system-error.js';

interface StoredBlob {
  readonly sha256: string;
  readonly path: string;
  readonly size: number;
  readonly usedAt: number;
}

/** Evicts slightly more than needed, so that not every new blob requires a scan of all of them. */
const FILL_AFTER_EVICTION = 0.9;

/**
 * The quota for the blobs of a folder. A blob's time of last use is its modification time, so that it survives restarts and is shared
 * between processes. Pins hold in this process only: another process may evict a pinned blob, and it is fetched again.
 */
export class BlobQuota {
  readonly #folder: string;
  readonly #quotaBytes: number;
  readonly #pins = new Map<string, number>();
  /** Bytes on disk at the last scan, plus what this process has added since; undefined before the first scan. */
  #usedBytes: number | undefined;
  /** Bytes reserved for blobs in transit. */
  #reservedBytes = 0;
  #turn: Promise<void> = Promise.resolve();

  constructor(folder: string, quotaBytes: number) {
    this.#folder = folder;
    this.#quotaBytes = quotaBytes;
  }

  /** Reserves room, which must be either used or given back. Rejects with `disk-full` if pinned blobs leave none. */
  reserve(bytes: number): Promise<{ used(): void; giveBack(): void }> {
    // One at a time: two concurrent evictions would evict twice as much as needed.
    const turn = this.#turn.then(async () => {
      await this.#makeRoom(bytes);
      this.#reservedBytes += bytes;
      const giveBack = () => {
        this.#reservedBytes -= bytes;
      };
      const used = () => {
        giveBack();
        this.#usedBytes = (this.#usedBytes ?? 0) + bytes;
      };
      return { used, giveBack };
    });
    this.#turn = turn.then(
      () => {},
      () => {},
    );
    return turn;
  }

  pin(hashes: Iterable<string>): () => void {
    const hashList = [...hashes];
    for (const hash of hashList) this.#pins.set(hash, (this.#pins.get(hash) ?? 0) + 1);
    let pinned = true;
    return () => {
      if (!pinned) return;
      pinned = false;
      for (const hash of hashList) {
        const remaining = (this.#pins.get(hash) ?? 1) - 1;
        if (remaining === 0) this.#pins.delete(hash);
        else this.#pins.set(hash, remaining);
      }
    };
  }

  async #makeRoom(bytes: number): Promise<void> {
    this.#usedBytes ??= total(await this.#list());
    const room = this.#quotaBytes - this.#reservedBytes - bytes;
    if (this.#usedBytes <= room) return;

    const blobs = (await this.#list()).sort((a, b) => a.usedAt - b.usedAt);
    let used = total(blobs);
    for (const { sha256, path, size } of blobs) {
      if (used <= room * FILL_AFTER_EVICTION) break;
      if (this.#pins.has(sha256)) continue;
      // A blob that cannot be removed (immutable, for example) still occupies its room.
      if ((await removeTree(path)) === undefined) used -= size;
    }
    this.#usedBytes = used;
    if (used > room) throw new PeerworkError('disk-full', `the quota of ${this.#quotaBytes} bytes for fetched files is used up`);
  }

  async #list(): Promise<StoredBlob[]> {
    const blobs: StoredBlob[] = [];
    for (const prefix of await readdir(this.#folder)) {
      const folder = join(this.#folder, prefix);
      for (const name of await readdir(folder).catch(emptyIfMissing)) {
        const path = join(folder, name);
        try {
          const { size, mtimeMs } = await stat(path);
          blobs.push({ sha256: prefix + name, path, size, usedAt: mtimeMs });
        } catch (error) {
          if (!isMissing(error)) throw error; // evicted by another process
        }
      }
    }
    return blobs;
  }
}

/** The folder was removed by another process, or is not one of ours. */
function emptyIfMissing(error: unknown): never[] {
  if (isMissing(error)) return [];
  throw error;
}

function total(blobs: readonly StoredBlob[]): number {
  return blobs.reduce((sum, { size }) => sum + size, 0);
}
