import { randomBytes } from 'node:crypto';

/** Ids as crew has them: 24 hexadecimal digits, of which the first eight are the second in which they were made. */
export function objectId(now: number): string {
  const seconds = Math.floor(now / 1_000)
    .toString(16)
    .padStart(8, '0')
    .slice(-8);
  return seconds + randomBytes(8).toString('hex');
}
