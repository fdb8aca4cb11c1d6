import { createHash, type Hash } from 'node:crypto';
import type { Clock, Timer } from '../clock.js';
import { PeerworkError } from '../errors.js';
import { MAX_MESSAGE_BYTES, MESSAGE_LIMITS } from '../job/limits.js';
import { checked, type LeaseKey, type Settlement, settlement, type UploadResult, workerLeaseKeyOf } from '../job/verbs.js';
import { parseJson } from '../kit/json.js';
import { Wake } from '../kit/wake.js';

/** Memory for the uploads of all Workers, complete or not. */
const MAX_BYTES = 16 * MAX_MESSAGE_BYTES;
/** Concurrent uploads per Worker. */
const MAX_AT_ONCE = 4;
/** How long an unfinished upload is kept after its Worker leaves. */
const KEEP_MS = 10 * 60_000;

interface Part {
  readonly key: string;
  readonly workerId: string;
  readonly wanted: UploadResult;
  readonly chunks: Uint8Array[];
  readonly hash: Hash;
  length: number;
  /** The current sender; undefined while there is none, which `timer` limits. */
  owner: PartialResult | undefined;
  timer: Timer | undefined;
}

/**
 * Outcomes that arrive in pieces, kept in memory by Worker, lease and hash: after a broken link the Worker sends only the rest. The
 * limit is MAX_BYTES in total. When it is reached, idle uploads are evicted to make room: first those of the same Worker, then those of the
 * Worker that holds most, if that is more than the new one's holds, so that nobody evicts others by taking more. Otherwise the new upload
 * waits. Uploads are lost when the Master ends, and then start over.
 */
export class Uploads {
  readonly #clock: Clock;
  readonly #maxBytes: number;
  readonly #parts = new Map<string, Part>();
  #bytes = 0;
  readonly #freed = new Wake();

  constructor(clock: Clock, maxBytes = MAX_BYTES) {
    this.#clock = clock;
    this.#maxBytes = maxBytes;
  }

  /** Bytes in use. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Returns what has been received of this outcome so far; an older link that was sending it loses the right to add to it. Rejects
   * with `rpc-overloaded` if the Worker has too many uploads, or with the signal's reason.
   */
  async take(workerId: string, wanted: UploadResult, signal: AbortSignal): Promise<PartialResult> {
    const key = `${workerLeaseKeyOf(workerId, wanted)} ${wanted.sha256}`;
    const part = await this.#existingOrNew(key, workerId, wanted, signal);
    part.timer?.cancel();
    const owner = new PartialResult(part, {
      released: () => this.#released(part),
      drop: () => this.#drop(part),
    });
    part.owner = owner;
    return owner;
  }

  /** Discards the upload because its lease is over. A current sender is notified. */
  forget(workerId: string, { id, lease }: LeaseKey): void {
    for (const part of this.#parts.values())
      if (part.workerId === workerId && part.wanted.id === id && part.wanted.lease === lease) this.#drop(part);
  }

  close(): void {
    for (const part of [...this.#parts.values()]) this.#drop(part);
  }

  async #existingOrNew(key: string, workerId: string, wanted: UploadResult, signal: AbortSignal): Promise<Part> {
    for (;;) {
      const concurrent = this.#partsOf(workerId).filter((part) => part.owner !== undefined && part.key !== key);
      if (concurrent.length >= MAX_AT_ONCE) throw new PeerworkError('rpc-overloaded', 'too many outcomes at once');
      const existing = this.#parts.get(key);
      if (existing !== undefined) return existing;
      if (this.#makeRoom(workerId, wanted.bytes)) {
        // In the same turn, so that nobody else takes this room.
        const part = { key, workerId, wanted, chunks: [], hash: createHash('sha256'), length: 0, owner: undefined, timer: undefined };
        this.#parts.set(key, part);
        this.#bytes += wanted.bytes;
        return part;
      }
      await this.#freed.wait({ signal });
      signal.throwIfAborted();
    }
  }

  /** Evicts idle uploads until there is room for this many bytes; returns whether there is. */
  #makeRoom(workerId: string, bytes: number): boolean {
    while (this.#bytes + bytes > this.#maxBytes && this.#bytes > 0) {
      const evicted = this.#idleOf(workerId) ?? this.#idleOfLargest(workerId);
      if (evicted === undefined) return false;
      this.#drop(evicted);
    }
    return true;
  }

  /** Returns an idle upload of the Worker that holds most, provided that it holds more than this one. */
  #idleOfLargest(workerId: string): Part | undefined {
    let most = this.#bytesOf(workerId);
    let largest: Part | undefined;
    for (const other of new Set([...this.#parts.values()].map((part) => part.workerId))) {
      const idle = this.#idleOf(other);
      const bytes = this.#bytesOf(other);
      if (idle === undefined || bytes <= most) continue;
      most = bytes;
      largest = idle;
    }
    return largest;
  }

  #idleOf(workerId: string): Part | undefined {
    return this.#partsOf(workerId).find(({ owner }) => owner === undefined);
  }

  #bytesOf(workerId: string): number {
    return this.#partsOf(workerId).reduce((sum, { wanted }) => sum + wanted.bytes, 0);
  }

  #partsOf(workerId: string): Part[] {
    return [...this.#parts.values()].filter((part) => part.workerId === workerId);
  }

  #released(part: Part): void {
    if (this.#parts.get(part.key) !== part) return;
    part.timer = this.#clock.after(KEEP_MS, () => this.#drop(part), { unref: true });
    this.#freed.wake();
  }

  #drop(part: Part): void {
    part.timer?.cancel();
    if (this.#parts.get(part.key) !== part) return;
    this.#parts.delete(part.key);
    part.owner = undefined;
    this.#bytes -= part.wanted.bytes;
    this.#freed.wake();
  }
}

/** The right to add to an outcome that arrives in pieces. */
class PartialResult {
  readonly #part: Part;
  readonly #ends: { readonly released: () => void; readonly drop: () => void };

  constructor(part: Part, ends: { readonly released: () => void; readonly drop: () => void }) {
    this.#part = part;
    this.#ends = ends;
  }

  /** Bytes received so far. */
  get length(): number {
    return this.#part.length;
  }

  /** Appends bytes. Throws `rpc-cancelled` if another link has taken over, `rpc-invalid` if the announced length is exceeded. */
  add(bytes: Uint8Array): void {
    if (this.#part.owner !== this) throw new PeerworkError('rpc-cancelled');
    if (this.#part.length + bytes.length > this.#part.wanted.bytes) throw this.#invalid('it is longer than announced');
    this.#part.chunks.push(bytes);
    this.#part.hash.update(bytes);
    this.#part.length += bytes.length;
  }

  /** Parses the complete outcome. Throws `rpc-invalid`, and discards it, if it differs from the announcement. */
  read(): Settlement {
    const { wanted, chunks, hash, length } = this.#part;
    if (length !== wanted.bytes || hash.copy().digest('hex') !== wanted.sha256) throw this.#invalid('it differs from what was announced');
    let value: unknown;
    try {
      value = parseJson(Buffer.concat(chunks), MESSAGE_LIMITS);
    } catch (error) {
      throw this.#invalid(error instanceof Error ? error.message : String(error));
    }
    const read = checked(settlement, value);
    if (read.id !== wanted.id || read.lease !== wanted.lease) throw this.#invalid('it belongs to another lease');
    return read;
  }

  /** Releases the upload: this link is done with it, and the rest may arrive over another one. */
  release(): void {
    if (this.#part.owner !== this) return;
    this.#part.owner = undefined;
    this.#ends.released();
  }

  /** Discards the upload. */
  drop(): void {
    if (this.#part.owner === this) this.#ends.drop();
  }

  #invalid(detail: string): PeerworkError {
    this.drop();
    return new PeerworkError('rpc-invalid', detail);
  }
}
