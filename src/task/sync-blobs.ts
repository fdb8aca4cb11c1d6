import { PeerworkError } from '../errors.js';
import type { TaskOrigin } from '../job/source.js';
import type { BlobStore } from './blob-store.js';
import { abortError } from './flights.js';
import type { Blob } from './manifest.js';

export interface BlobSyncOptions {
  readonly store: BlobStore;
  readonly origin: TaskOrigin;
  /** Blobs in the order in which they will be needed. */
  readonly blobs: readonly Blob[];
  readonly atOnce: number;
  /** Called when a blob cannot be fetched. */
  readonly onFailure: (error: unknown) => void;
  readonly signal: AbortSignal;
}

interface PendingBlob {
  readonly blob: Blob;
  readonly arrived: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
  /** Received bytes until they are first read: most blobs are needed once, right away. */
  held: Uint8Array | undefined;
}

const MAX_HELD_BYTES = 16 * 1024 * 1024;

/** Fetches the missing blobs of one task, several at once, while files are assembled from those that have arrived. */
export class BlobSync {
  readonly #options: BlobSyncOptions;
  readonly #wanted = new Map<string, PendingBlob>();
  readonly #done: Promise<void>;
  #bytes = 0;
  #fetched = 0;
  #heldBytes = 0;

  constructor(options: BlobSyncOptions) {
    this.#options = options;
    for (const blob of options.blobs) this.#wanted.set(blob.sha256, pendingBlob(blob));
    const queue = this.#wanted.values();
    const fetchers = Array.from({ length: options.atOnce }, () => this.#fetchAll(queue));
    this.#done = Promise.all(fetchers).then(() => {});
  }

  /** Bytes received so far. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Blobs received so far, at least in part. */
  get fetched(): number {
    return this.#fetched;
  }

  /** Resolves to the blob's verified bytes as soon as they have arrived; rejects with the reason if they cannot be fetched. */
  async read(sha256: string): Promise<Uint8Array> {
    const wanted = this.#wanted.get(sha256);
    if (wanted === undefined) throw new PeerworkError('asset-unknown', sha256);
    await wanted.arrived;
    const held = this.#takeHeld(wanted);
    if (held !== undefined) return held;
    const { store } = this.#options;
    return store.read(sha256).catch(async (error: unknown) => {
      if (!(error instanceof PeerworkError) || error.code !== 'asset-unknown') throw error;
      // Another process has evicted it in the meantime, or it was damaged on disk.
      await this.#fetch(wanted);
      return this.#takeHeld(wanted) ?? store.read(sha256);
    });
  }

  /** Resolves when nothing is being fetched any more, whether it succeeded or not. */
  async settled(): Promise<void> {
    await this.#done;
  }

  async #fetchAll(queue: Iterable<PendingBlob>): Promise<void> {
    const { signal, onFailure } = this.#options;
    for (const wanted of queue) {
      if (signal.aborted) wanted.reject(abortError(signal));
      else
        await this.#fetch(wanted).then(wanted.resolve, (error: unknown) => {
          wanted.reject(error);
          onFailure(error);
        });
    }
  }

  async #fetch(wanted: PendingBlob): Promise<void> {
    const { store, origin, signal } = this.#options;
    const { blob } = wanted;
    const { received, bytes } = await store.fetch(blob, (offset, shared) => origin.blob(blob.sha256, offset, shared), signal);
    this.#bytes += received;
    if (received > 0) this.#fetched += 1;
    if (bytes === undefined || this.#heldBytes + bytes.length > MAX_HELD_BYTES) return;
    wanted.held = bytes;
    this.#heldBytes += bytes.length;
  }

  #takeHeld(wanted: PendingBlob): Uint8Array | undefined {
    const { held } = wanted;
    wanted.held = undefined;
    this.#heldBytes -= held?.length ?? 0;
    return held;
  }
}

function pendingBlob(blob: Blob): PendingBlob {
  let resolve = () => {};
  let reject: (error: unknown) => void = () => {};
  const arrived = new Promise<void>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  arrived.catch(() => {}); // `read` reports the failure
  return { blob, arrived, resolve, reject, held: undefined };
}
