import { PeerworkError } from '../../errors.js';
import { MAX_MESSAGE_BYTES } from '../../job/limits.js';
import { fromUtf8 } from '../bytes.js';
import { HEADER_BYTES, isSplittable, Kind, MORE, readUint32 } from './messages.js';

export interface ReaderListener {
  text(kind: number, id: number, text: string): void;
  /** `bytes` is a view of the frame that it arrived in. */
  data(kind: number, id: number, bytes: Uint8Array, frameBytes: number): void;
  credit(kind: number, id: number, bytes: number): void;
  /** A message without a payload. */
  bare(kind: number, id: number): void;
}

/** A letter of which parts are still missing; there is at most one. */
interface Partial {
  readonly kind: number;
  readonly id: number;
  bytes: Uint8Array;
  length: number;
}

/** Splits frames into messages. Throws `frame-malformed` or `frame-oversized`; the reader is unusable afterwards. */
export class Reader {
  readonly #listener: ReaderListener;
  #partial: Partial | undefined;
  #partBytes = 0;

  constructor(listener: ReaderListener) {
    this.#listener = listener;
  }

  /** Bytes so far of messages that came in parts. */
  get partBytes(): number {
    return this.#partBytes;
  }

  /** `wantsMore` is called after each message and returns whether the rest of the frame is wanted. */
  read(frame: Uint8Array, wantsMore: () => boolean): void {
    let at = 0;
    do {
      if (frame.length - at < HEADER_BYTES) throw malformed('a header is cut');
      const flags = frame[at + 1] ?? 0;
      const length = ((frame[at + 6] ?? 0) << 8) | (frame[at + 7] ?? 0);
      const end = at + HEADER_BYTES + length;
      if (end > frame.length) throw malformed('a message is longer than its frame');
      if (flags > MORE) throw malformed('unknown flags');
      this.#message(frame[at] ?? 0, flags === MORE, readUint32(frame, at + 2), frame.subarray(at + HEADER_BYTES, end), frame.length);
      at = end;
    } while (at < frame.length && wantsMore());
  }

  #message(kind: number, more: boolean, id: number, payload: Uint8Array, frameBytes: number): void {
    if (isSplittable(kind)) {
      this.#letter(kind, more, id, payload);
      return;
    }
    if (more) throw malformed('a message in parts that must not have any');
    switch (kind) {
      case Kind.data:
      case Kind.upload:
        if (payload.length === 0) throw malformed('no data');
        {
          this.#listener.data(kind, id, payload, frameBytes);
          return;
        }
      case Kind.credit:
      case Kind.uploadCredit:
        if (payload.length !== 4) throw malformed('not a credit');
        {
          this.#listener.credit(kind, id, readUint32(payload, 0));
          return;
        }
      case Kind.fail:
      case Kind.goodbye:
        this.#listener.text(kind, id, decode(payload));
        return;
      case Kind.cancel:
      case Kind.end:
      case Kind.uploadEnd:
      case Kind.ping:
      case Kind.pong:
        if (payload.length > 0) throw malformed('a payload where none belongs');
        {
          this.#listener.bare(kind, id);
          return;
        }
      default:
        throw malformed(`unknown kind ${kind}`);
    }
  }

  #letter(kind: number, more: boolean, id: number, payload: Uint8Array): void {
    const partial = this.#partial;
    if (partial === undefined && !more) {
      this.#listener.text(kind, id, decode(payload));
      return;
    }
    if (more && payload.length === 0) throw malformed('an empty part');
    this.#partBytes += payload.length;
    if (partial === undefined) {
      this.#partial = { kind, id, bytes: payload.slice(), length: payload.length };
      return;
    }
    if (partial.kind !== kind || partial.id !== id) throw malformed('parts of two messages mixed');
    append(partial, payload);
    if (more) return;
    this.#partial = undefined;
    this.#listener.text(kind, id, decode(partial.bytes.subarray(0, partial.length)));
  }
}

/** Copies, because a part may be a small piece of a large frame. */
function append(partial: Partial, payload: Uint8Array): void {
  const length = partial.length + payload.length;
  if (length > MAX_MESSAGE_BYTES) throw new PeerworkError('frame-oversized', `over ${MAX_MESSAGE_BYTES} bytes`);
  if (length > partial.bytes.length) {
    const larger = new Uint8Array(Math.min(MAX_MESSAGE_BYTES, 2 * length));
    larger.set(partial.bytes.subarray(0, partial.length));
    partial.bytes = larger;
  }
  partial.bytes.set(payload, partial.length);
  partial.length = length;
}

function decode(payload: Uint8Array): string {
  const text = fromUtf8(payload);
  if (text === undefined) throw malformed('not UTF-8');
  return text;
}

export function malformed(detail: string): PeerworkError {
  return new PeerworkError('frame-malformed', detail);
}
