import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto';
import * as v from 'valibot';
import { PeerworkError } from '../../../errors.js';
import { MESSAGE_LIMITS } from '../../../job/limits.js';
import { parseJson as parse } from '../../../kit/json.js';
import { IV_BYTES, TRANSFER_KEY_BYTES } from './transfer-sizes.js';

/** Ciphertext under the transfer key: AES-256-CBC, without a MAC. */
export const sealedText = v.object({
  iv: v.pipe(v.string(), v.regex(/^[0-9a-f]{32}$/i)),
  encryptedData: v.pipe(
    v.string(),
    v.regex(/^[0-9a-f]+$/i),
    v.check((text) => text.length % (2 * IV_BYTES) === 0),
  ),
});
export type SealedText = v.InferOutput<typeof sealedText>;

/** The `transferEncryptToken` of queue-xec, whose bytes are used as the key directly. Throws `option-invalid` unless it has 32 bytes. */
export class TransferKey {
  readonly #key: Buffer;

  constructor(text: string) {
    this.#key = Buffer.from(text);
    if (this.#key.length !== TRANSFER_KEY_BYTES)
      throw new PeerworkError(
        'option-invalid',
        `the transfer key of queue-xec has ${this.#key.length} bytes, it must have ${TRANSFER_KEY_BYTES}`,
      );
  }

  /** Encrypts with a random IV; queue-xec uses a single one for everything, but accepts any. */
  seal(text: string, iv: Uint8Array = randomBytes(IV_BYTES)): SealedText {
    const cipher = createCipheriv('aes-256-cbc', this.#key, iv);
    const sealed = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
    return { iv: Buffer.from(iv).toString('hex'), encryptedData: sealed.toString('hex') };
  }

  /** Returns undefined if the text was not sealed with this key, as far as the padding reveals that. */
  open(sealed: unknown): string | undefined {
    const read = v.safeParse(sealedText, sealed);
    if (!read.success) return undefined;
    try {
      const decipher = createDecipheriv('aes-256-cbc', this.#key, Buffer.from(read.output.iv, 'hex'));
      return Buffer.concat([decipher.update(Buffer.from(read.output.encryptedData, 'hex')), decipher.final()]).toString();
    } catch {
      return undefined;
    }
  }

  /** Decrypts a sealed text that was transferred as JSON text. */
  openText(text: unknown): string | undefined {
    return typeof text === 'string' ? this.open(parseJson(text)) : undefined;
  }
}

/** Returns undefined for invalid JSON, or JSON beyond the limits of a message. */
export function parseJson(text: string): unknown {
  try {
    return parse(text, MESSAGE_LIMITS);
  } catch {
    return undefined;
  }
}

/** Fingerprint of a list of files: their SHA-256 hashes, concatenated in the order of the list. */
export function unifiedHash(files: readonly { readonly sha256: string }[]): string {
  return files.map(({ sha256 }) => sha256).join('');
}

export function sha256Of(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
