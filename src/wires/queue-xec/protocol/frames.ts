import { WireFault } from './bencode.js';

const PROTOCOL = 'BitTorrent protocol';
const HASH_BYTES = 20;
export const HANDSHAKE_BYTES = 1 + PROTOCOL.length + 8 + HASH_BYTES + HASH_BYTES;
/** Announces the extension protocol only, so that the other side sends nothing else that would need a reply. */
const RESERVED = Buffer.from('0000000000100000', 'hex');
const EXTENSION_BYTE = 5;
const EXTENSION_BIT = 0x10;
const EXTENDED = 20;
const FIRST_BYTES = 4 * 1024;

export const KEEP_ALIVE = Buffer.alloc(4);

/** Limit for the bytes of incomplete frames, shared by all connections of a room. */
export class Budget {
  readonly #limit: number;
  #taken = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Throws WireFault if the limit is exceeded. */
  take(bytes: number): void {
    if (this.#taken + bytes > this.#limit) throw new WireFault('too much is on its way at once');
    this.#taken += bytes;
  }

  give(bytes: number): void {
    this.#taken -= bytes;
  }
}

export function handshake(infoHash: Uint8Array, peerId: Uint8Array): Buffer {
  return Buffer.concat([Buffer.of(PROTOCOL.length), Buffer.from(PROTOCOL), RESERVED, infoHash, peerId]);
}

/** Returns the peer id. Throws WireFault for another protocol, another room, or a peer without the extension protocol. */
export function readHandshake(bytes: Buffer, infoHash: Buffer): Buffer {
  const reserved = 1 + PROTOCOL.length;
  if (bytes[0] !== PROTOCOL.length || bytes.toString('latin1', 1, reserved) !== PROTOCOL) throw new WireFault('another protocol');
  if (((bytes[reserved + EXTENSION_BYTE] ?? 0) & EXTENSION_BIT) === 0) throw new WireFault('no extension protocol');
  const hash = reserved + RESERVED.length;
  if (infoHash.compare(bytes, hash, hash + HASH_BYTES) !== 0) throw new WireFault('another room');
  return Buffer.from(bytes.subarray(hash + HASH_BYTES, HANDSHAKE_BYTES));
}

/** Builds an extension message in one buffer: with Nagle's algorithm on the other side, two writes would cost 40 ms. */
export function extendedFrame(extension: number, payload: Uint8Array): Buffer {
  const head = Buffer.alloc(6);
  head.writeUInt32BE(2 + payload.length);
  head[4] = EXTENDED;
  head[5] = extension;
  return Buffer.concat([head, payload]);
}

export interface ExtendedMessage {
  readonly extension: number;
  readonly payload: Buffer;
}

/**
 * Splits the incoming bytes into the handshake and the frames after it. The buffer grows with the bytes received, not with announced
 * lengths, and by doubling, so that sending one byte at a time costs the sender more than us.
 */
export class FrameReader {
  readonly #budget: Budget;
  readonly #maxBytes: number;
  #buffer = Buffer.alloc(0);
  #size = 0;
  #hasHandshake = false;

  constructor(budget: Budget, maxBytes: number) {
    this.#budget = budget;
    this.#maxBytes = maxBytes;
  }

  /** Adds bytes and returns what is complete now; the handshake comes first. Throws WireFault. */
  push(chunk: Uint8Array): (Buffer | ExtendedMessage)[] {
    this.#reserve(this.#size + chunk.length);
    this.#buffer.set(chunk, this.#size);
    this.#size += chunk.length;
    const found: (Buffer | ExtendedMessage)[] = [];
    let at = 0;
    for (let next = this.#next(at, found); next !== undefined; next = this.#next(at, found)) at = next;
    this.#buffer.copyWithin(0, at, this.#size);
    this.#size -= at;
    if (this.#buffer.length > FIRST_BYTES && this.#size <= FIRST_BYTES) this.#resize(FIRST_BYTES);
    return found;
  }

  /** Whether a frame is incomplete. */
  get isInside(): boolean {
    return this.#size > 0;
  }

  close(): void {
    this.#size = 0;
    this.#resize(0);
  }

  /** Reads one item and returns where the next one starts; undefined if it is incomplete. */
  #next(at: number, found: (Buffer | ExtendedMessage)[]): number | undefined {
    const left = this.#size - at;
    if (!this.#hasHandshake) {
      if (left < HANDSHAKE_BYTES) return undefined;
      this.#hasHandshake = true;
      found.push(Buffer.from(this.#buffer.subarray(at, at + HANDSHAKE_BYTES)));
      return at + HANDSHAKE_BYTES;
    }
    if (left < 4) return undefined;
    const length = this.#buffer.readUInt32BE(at);
    if (length > this.#maxBytes) throw new WireFault('a frame that is too large');
    const [body, end] = [at + 4, at + 4 + length];
    if (end > this.#size) return undefined;
    // All other messages are BitTorrent's own: pieces, choking, keep-alives.
    if (length >= 2 && this.#buffer[body] === EXTENDED)
      found.push({ extension: this.#buffer[body + 1] ?? 0, payload: Buffer.from(this.#buffer.subarray(body + 2, end)) });
    return end;
  }

  #reserve(bytes: number): void {
    if (bytes > this.#buffer.length) this.#resize(Math.max(FIRST_BYTES, bytes, this.#buffer.length * 2));
  }

  #resize(bytes: number): void {
    this.#budget.take(bytes);
    this.#budget.give(this.#buffer.length);
    const resized = Buffer.alloc(bytes);
    this.#buffer.copy(resized, 0, 0, this.#size);
    this.#buffer = resized;
  }
}
