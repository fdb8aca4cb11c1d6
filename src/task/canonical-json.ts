import { createHash } from 'node:crypto';
import { PeerworkError } from '../errors.js';
import type { Json } from '../job/job.js';

/**
 * Serialises a value in a unique way: object keys sorted by UTF-16 code units, no white space, integers only. Two sides with the same
 * manifest therefore have the same bytes, which are what is hashed and signed.
 */
export function canonicalJson(value: Json): string {
  if (value === null || typeof value === 'boolean' || typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'number') {
    // Fractions and exponents have several common spellings, and nothing that we sign needs them.
    if (!Number.isSafeInteger(value)) throw new PeerworkError('manifest-invalid', `not an integer: ${value}`);
    return JSON.stringify(value);
  }
  if (isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
  const members: string[] = [];
  for (const key of Object.keys(value).sort()) {
    const member = value[key];
    if (member !== undefined) members.push(`${JSON.stringify(key)}:${canonicalJson(member)}`);
  }
  return `{${members.join(',')}}`;
}

/** `Array.isArray` does not narrow readonly arrays. */
function isArray(value: Json): value is readonly Json[] {
  return Array.isArray(value);
}

/** Returns the SHA-256 of a text in hexadecimal. */
export function textHash(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
