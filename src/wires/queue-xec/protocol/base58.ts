import { createHash } from 'node:crypto';
import { WireFault } from './bencode.js';

const ALPHABET = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz';
/** The arithmetic is quadratic, and a key or address has at most 54 characters. */
const MAX_CHARS = 80;
const CHECKSUM_BYTES = 4;

export function base58(bytes: Uint8Array): string {
  let number = BigInt(`0x0${Buffer.from(bytes).toString('hex')}`);
  let text = '';
  for (; number > 0n; number /= 58n) text = ALPHABET.charAt(Number(number % 58n)) + text;
  const zeros = bytes.findIndex((byte) => byte !== 0);
  return ALPHABET.charAt(0).repeat(zeros === -1 ? bytes.length : zeros) + text;
}

/** Throws WireFault for text that is not base58, or not of this length in bytes. */
export function fromBase58(text: string, length: number): Buffer {
  if (text.length > MAX_CHARS) throw new WireFault('too long for base58');
  let number = 0n;
  for (const char of text) {
    const digit = ALPHABET.indexOf(char);
    if (digit === -1) throw new WireFault('not base58');
    number = number * 58n + BigInt(digit);
  }
  const hex = number.toString(16);
  const significant = number === 0n ? Buffer.alloc(0) : Buffer.from(hex.length % 2 === 1 ? `0${hex}` : hex, 'hex');
  const zeros = [...text].findIndex((char) => char !== ALPHABET.charAt(0));
  const bytes = Buffer.concat([Buffer.alloc(zeros === -1 ? text.length : zeros), significant]);
  if (bytes.length !== length) throw new WireFault(`base58 of ${bytes.length} bytes, ${length} are wanted`);
  return bytes;
}

/** Appends a checksum, as in addresses and seeds. */
export function base58check(bytes: Uint8Array): string {
  const twice = createHash('sha256').update(createHash('sha256').update(bytes).digest()).digest();
  return base58(Buffer.concat([bytes, twice.subarray(0, CHECKSUM_BYTES)]));
}
