import { randomBytes } from 'node:crypto';
import { type SealedText, TransferKey } from '../protocol/transfer.js';
import { IV_BYTES } from '../protocol/transfer-sizes.js';

/**
 * `Crypt` of queue-xec: AES-256-CBC with the 32 bytes of `transferEncryptToken` as the key. For queue-xec's wire only, where it is
 * unavoidable: without a MAC, a ciphertext modified in transit may decrypt to another text. Nothing else in peerwork uses it, and nothing
 * new should.
 */
export class Crypt {
  readonly #text: string;
  readonly #key: TransferKey;
  #iv = randomBytes(IV_BYTES);

  /** Throws `option-invalid` unless the key has 32 bytes. */
  constructor(key?: string | null) {
    this.#text = key ?? '';
    this.#key = new TransferKey(this.#text);
  }

  /** Encrypts with a new IV each time; queue-xec, which keeps one, accepts any. A number is encrypted as its decimal text. */
  encrypt(text: string | number): SealedText {
    if (typeof text !== 'string' && typeof text !== 'number') throw new TypeError('a text or a number can be encrypted, nothing else');
    this.#iv = randomBytes(IV_BYTES);
    return this.#key.seal(String(text), this.#iv);
  }

  /** Returns null if the text was not sealed with this key, as far as the padding reveals that. */
  decrypt(sealed: unknown): string | null {
    return this.#key.open(sealed) ?? null;
  }

  getKey(): string {
    return this.#text;
  }

  /** Returns the IV of the latest text. */
  getIv(): Buffer {
    return this.#iv;
  }
}
