import { PeerworkError } from '../errors.js';
import type { TaskOrigin } from '../job/source.js';
import type { BlobStore } from './blob-store.js';
import { abortError } from './flights.js';
import type { Blob } from './manifest.js';

export interface BlobSyncOptions {
  readonly store: BlobStore;
  readonly origin: TaskOrigin;
  /** In the order in which they will be needed. */
  readonly blobs: readonly Blob[];
  readonly atOnce: number;
  /** Hears of the first blob that cannot be had. */
  readonly onFailure: (error: unknown) => void;
  readonly signal: AbortSignal;
}

interface Wanted {
  readonly blob: Blob;
  readonly arrived: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
  /** What has just come, until it is read for the first time: most blobs are needed once, at once. */
  held: Uint8Array | undefined;
}

const MAX_HELD_BYTES = 16 * 1024 * 1024;

/** Fetches the blobs of one task that are not there, several at once, while others already put files together from those that are. */
export class BlobSync {
  readonly #options: BlobSyncOptions;
  readonly #wanted = new Map<string, Wanted>();
  readonly #done: Promise<void>;
  #bytes = 0;
  #fetched = 0;
  #heldBytes = 0;

  constructor(options: BlobSyncOptions) {
    this.#options = options;
    for (const blob of options.blobs) this.#wanted.set(blob.sha256, want(blob));
    const queue = this.#wanted.values();
    const lanes = Array.from({ length: options.atOnce }, () => this.#fetchAll(queue));
    this.#done = Promise.all(lanes).then(() => {});
  }

  /** Bytes received so far. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Blobs received so far, at least in part. */
  get fetched(): number {
    return this.#fetched;
  }

  /** Resolves to the blob's bytes, verified, as soon as it is there; rejects with what kept it from coming. */
  async read(sha256: string): Promise<Uint8Array> {
    const wanted = this.#wanted.get(sha256);
    if (wanted === undefined) throw new PeerworkError('asset-unknown', sha256);
    await wanted.arrived;
    const held = this.#letGo(wanted);
    if (held !== undefined) return held;
    const { store } = this.#options;
    return store.read(sha256).catch(async (error: unknown) => {
      if (!(error instanceof PeerworkError) || error.code !== 'asset-unknown') throw error;
      // Another process has evicted it since, or it has gone bad on disk.
      await this.#fetch(wanted);
      return this.#letGo(wanted) ?? store.read(sha256);
    });
  }

  /** Resolves when nothing is being fetched any more, whether it came or not. */
  async settled(): Promise<void> {
    await this.#done;
  }

  async #fetchAll(queue: Iterable<Wanted>): Promise<void> {
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

  async #fetch(wanted: Wanted): Promise<void> {
    const { store, origin, signal } = this.#options;
    const { blob } = wanted;
    const { received, bytes } = await store.fetch(blob, (offset, shared) => origin.blob(blob.sha256, offset, shared), signal);
    this.#bytes += received;
    if (received > 0) this.#fetched += 1;
    if (bytes === undefined || this.#heldBytes + bytes.length > MAX_HELD_BYTES) return;
    wanted.held = bytes;
    this.#heldBytes += bytes.length;
  }

  #letGo(wanted: Wanted): Uint8Array | undefined {
    const { held } = wanted;
    wanted.held = undefined;
    this.#heldBytes -= held?.length ?? 0;
    return held;
  }
}

function want(blob: Blob): Wanted {
  let resolve = () => {};
  let reject: (error: unknown) => void = () => {};
  const arrived = new Promise<void>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  arrived.catch(() => {}); // whoever needs it hears of it in `read`
  return { blob, arrived, resolve, reject, held: undefined };
}
