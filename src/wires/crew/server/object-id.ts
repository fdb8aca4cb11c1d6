import { randomBytes } from 'node:crypto';

/** Ids as crew has them: 24 hexadecimal digits, of which the first eight are the second in which they were made. */
export function objectId(now: number): string {
  const seconds = Math.floor(now / 1_000)
    .toString(16)
    .padStart(8, '0')
    .slice(-8);
  return seconds + randomBytes(8).toString('hex');
}

/** What crew says of anything else in the place of an id. */
export const MALFORMED_ID = 'Argument passed in must be a string of 12 bytes or a string of 24 hex characters or an integer';

/** Whether crew takes it for an id at all. */
export function isObjectId(id: string): boolean {
  return /^[0-9a-f]{24}$/i.test(id) || Buffer.byteLength(id) === 12;
}
