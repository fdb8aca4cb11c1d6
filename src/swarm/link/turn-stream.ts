/**
 * TURN over a byte stream (RFC 8656, 3.7 and 12.5). STUN messages begin with 00 bits and have their length at offset 2 of a 20-byte
 * header; ChannelData begins with 01 bits, has its length at offset 2 of a 4-byte header, and is padded to a multiple of 4 on a stream
 * only.
 */
const stunHeaderBytes = 20;
const channelHeaderBytes = 4;
const stunCookie = 0x2112a442;
/** Channels are 0x4000 to 0x4fff. */
const lastChannel = 0x4fff;

export class TurnStream {
  readonly #deliver: (message: Uint8Array) => void;
  #rest = new Uint8Array(0);

  /** `deliver` receives each message as the datagram that it would be over UDP. */
  constructor(deliver: (message: Uint8Array) => void) {
    this.#deliver = deliver;
  }

  /** Frames a datagram for a stream; returns undefined if it is neither STUN nor ChannelData. */
  static frame(datagram: Uint8Array): Uint8Array | undefined {
    const size = messageBytes(datagram);
    if (size === undefined || size > datagram.byteLength) return undefined;
    const message = datagram.subarray(0, size);
    const padded = new Uint8Array(Math.ceil(size / 4) * 4);
    padded.set(message);
    return padded;
  }

  /** Consumes the next bytes of the stream; returns false if they are not TURN, and then the stream is unusable. */
  push(bytes: Uint8Array): boolean {
    let data = bytes;
    if (this.#rest.byteLength > 0) {
      data = new Uint8Array(this.#rest.byteLength + bytes.byteLength);
      data.set(this.#rest);
      data.set(bytes, this.#rest.byteLength);
    }
    let at = 0;
    while (data.byteLength - at >= channelHeaderBytes) {
      const size = messageBytes(data.subarray(at));
      if (size === undefined) return false;
      const padded = Math.ceil(size / 4) * 4;
      if (data.byteLength - at < padded) break;
      this.#deliver(data.subarray(at, at + size));
      at += padded;
    }
    this.#rest = data.slice(at);
    return true;
  }
}

/** Returns the size of header and body without padding, read from at least four bytes; undefined if this is not a TURN message. */
function messageBytes(data: Uint8Array): number | undefined {
  if (data.byteLength < channelHeaderBytes) return undefined;
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const length = view.getUint16(2);
  const kind = view.getUint8(0) >> 6;
  if (kind === 1) return view.getUint16(0) <= lastChannel ? channelHeaderBytes + length : undefined;
  if (kind !== 0 || length % 4 !== 0) return undefined;
  if (data.byteLength >= 8 && view.getUint32(4) !== stunCookie) return undefined;
  return stunHeaderBytes + length;
}
