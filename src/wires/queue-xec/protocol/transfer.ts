import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto';
import * as v from 'valibot';
import { PeerworkError } from '../../../errors.js';
import { MESSAGE_LIMITS } from '../../../job/limits.js';
import { parseJson as parse } from '../../../kit/json.js';

const KEY_BYTES = 32;
const IV_BYTES = 16;

/** What is sealed with the transfer key: AES-256-CBC, without a MAC. */
export const sealedText = v.object({
  iv: v.pipe(v.string(), v.regex(/^[0-9a-f]{32}$/i)),
  encryptedData: v.pipe(
    v.string(),
    v.regex(/^[0-9a-f]+$/i),
    v.check((text) => text.length % (2 * IV_BYTES) === 0),
  ),
});
export type SealedText = v.InferOutput<typeof sealedText>;

/** The `transferEncryptToken` of queue-xec: its bytes are the key as they are. Throws `option-invalid` if it has not 32 bytes. */
export class TransferKey {
  readonly #key: Buffer;

  constructor(text: string) {
    this.#key = Buffer.from(text);
    if (this.#key.length !== KEY_BYTES)
      throw new PeerworkError('option-invalid', `the transfer key of queue-xec has ${this.#key.length} bytes, it must have ${KEY_BYTES}`);
  }

  /** queue-xec uses one iv for everything; it takes any. */
  seal(text: string, iv: Uint8Array = randomBytes(IV_BYTES)): SealedText {
    const cipher = createCipheriv('aes-256-cbc', this.#key, iv);
    const sealed = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
    return { iv: Buffer.from(iv).toString('hex'), encryptedData: sealed.toString('hex') };
  }

  /** Undefined for what was not sealed with this key, as far as the padding tells. */
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

  /** For what travels as JSON text. */
  openText(text: unknown): string | undefined {
    return typeof text === 'string' ? this.open(parseJson(text)) : undefined;
  }
}

/** Undefined for what is not JSON, or more of it than a message may hold. */
export function parseJson(text: string): unknown {
  try {
    return parse(text, MESSAGE_LIMITS);
  } catch {
    return undefined;
  }
}

/** How one side tells the other which files it has: their SHA-256 in the order of the list, one behind the other. */
export function unifiedHash(files: readonly { readonly sha256: string }[]): string {
  return files.map(({ sha256 }) => sha256).join('');
}

export function sha256Of(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
