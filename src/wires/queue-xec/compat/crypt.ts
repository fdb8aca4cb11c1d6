import { randomBytes } from 'node:crypto';
import { type SealedText, TransferKey } from '../protocol/transfer.js';

const IV_BYTES = 16;

/**
 * `Crypt` of queue-xec: AES-256-CBC with the 32 bytes of `transferEncryptToken` as they are. For queue-xec's wire alone, where it cannot be otherwise: a
 * text that somebody has changed on its way may open to another one, because there is no MAC. Nothing else in peerwork is sealed with it, and nothing new
 * should be.
 */
export class Crypt {
  readonly #text: string;
  readonly #key: TransferKey;
  #iv = randomBytes(IV_BYTES);

  /** Throws `option-invalid` if the key has not 32 bytes. */
  constructor(key?: string | null) {
    this.#text = key ?? '';
    this.#key = new TransferKey(this.#text);
  }

  /** Takes a new iv each time; queue-xec, which keeps one, reads any. A number is sealed as its text. */
  encrypt(text: string | number): SealedText {
    if (typeof text !== 'string' && typeof text !== 'number') throw new TypeError('a text or a number can be encrypted, nothing else');
    this.#iv = randomBytes(IV_BYTES);
    return this.#key.seal(String(text), this.#iv);
  }

  /** null for what was not sealed with this key, as far as the padding tells. */
  decrypt(sealed: unknown): string | null {
    return this.#key.open(sealed) ?? null;
  }

  getKey(): string {
    return this.#text;
  }

  /** That of the latest text. */
  getIv(): Buffer {
    return this.#iv;
  }
}
