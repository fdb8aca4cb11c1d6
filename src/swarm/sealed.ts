import { PeerworkError } from '../errors.js';
import { NONCE_BYTES, type Primitives, TAG_BYTES } from './crypto.js';
import { type Link, MAX_LINK_MESSAGE_BYTES } from './link.js';

/** One AES-256 key per direction. */
export interface SessionKeys {
  readonly send: Uint8Array;
  readonly receive: Uint8Array;
}

export const MAX_FRAME_BYTES = MAX_LINK_MESSAGE_BYTES - TAG_BYTES;

export interface SealedListener {
  /** The listener may keep the bytes. */
  frame(plaintext: Uint8Array): void;
  /**
   * Called with `frame-tampered`, `frame-malformed` or `frame-oversized`; nothing more is delivered. The link is still open, so that a
   * goodbye can be sent.
   */
  broken(error: PeerworkError): void;
}

/**
 * Sealed frames over a link. The nonce is a counter that both sides keep, one per direction, so that a frame that was altered, dropped,
 * replayed or reordered does not open.
 */
export class SealedLink {
  readonly #link: Link;
  readonly #keys: SessionKeys;
  readonly #primitives: Primitives;
  readonly #sendNonce = new Uint8Array(NONCE_BYTES);
  readonly #receiveNonce = new Uint8Array(NONCE_BYTES);
  #sentFrames = 0;
  #receivedFrames = 0;
  #sentBytes = 0;
  #receivedBytes = 0;
  #broken = false;

  constructor(link: Link, keys: SessionKeys, primitives: Primitives) {
    this.#link = link;
    this.#keys = keys;
    this.#primitives = primitives;
  }

  get bufferedBytes(): number {
    return this.#link.bufferedBytes;
  }

  /** Plaintext bytes. */
  get traffic(): { readonly sent: number; readonly received: number } {
    return { sent: this.#sentBytes, received: this.#receivedBytes };
  }

  /** @param early messages that arrived between the end of the handshake and now */
  start(listener: SealedListener, early: readonly Uint8Array[]): void {
    const receive = (message: Uint8Array) => {
      if (!this.#broken) this.#receive(message, listener);
    };
    for (const message of early) receive(message);
    this.#link.onMessage(receive);
  }

  /** Seals and sends a copy of `plaintext`, 1 to MAX_FRAME_BYTES long. */
  send(plaintext: Uint8Array): void {
    setCounter(this.#sendNonce, this.#sentFrames++);
    this.#sentBytes += plaintext.length;
    this.#link.send(this.#primitives.seal(this.#keys.send, this.#sendNonce, plaintext));
  }

  #receive(message: Uint8Array, listener: SealedListener): void {
    const opened = this.#open(message);
    if (opened instanceof PeerworkError) {
      this.#broken = true;
      listener.broken(opened);
      return;
    }
    this.#receivedBytes += opened.length;
    listener.frame(opened);
  }

  #open(message: Uint8Array): Uint8Array | PeerworkError {
    if (message.length > MAX_LINK_MESSAGE_BYTES) return new PeerworkError('frame-oversized', `${message.length} bytes in one frame`);
    if (message.length <= TAG_BYTES) return new PeerworkError('frame-malformed', 'it is too short');
    setCounter(this.#receiveNonce, this.#receivedFrames++);
    return this.#primitives.open(this.#keys.receive, this.#receiveNonce, message) ?? new PeerworkError('frame-tampered');
  }
}

/** Writes the counter into the last 8 bytes, big-endian. */
export function setCounter(nonce: Uint8Array, counter: number): void {
  let rest = counter;
  for (let index = NONCE_BYTES - 1; index >= NONCE_BYTES - 8; index--) {
    nonce[index] = rest & 255;
    rest = Math.floor(rest / 256);
  }
}
