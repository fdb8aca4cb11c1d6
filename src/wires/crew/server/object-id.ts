import { randomBytes } from 'node:crypto';

/** Returns an id in crew's format: 24 hexadecimal digits, of which the first eight are the creation time in seconds. */
export function objectId(now: number): string {
  const seconds = Math.floor(now / 1_000)
    .toString(16)
    .padStart(8, '0')
    .slice(-8);
  return seconds + randomBytes(8).toString('hex');
}

/** crew's message for a malformed id. */
export const MALFORMED_ID = 'Argument passed in must be a string of 12 bytes or a string of 24 hex characters or an integer';

/** Whether crew accepts the text as an id. */
export function isObjectId(id: string): boolean {
  return /^[0-9a-f]{24}$/i.test(id) || Buffer.byteLength(id) === 12;
}
