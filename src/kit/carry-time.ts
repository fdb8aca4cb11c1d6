/** The slowest line that is reckoned with, 128 kbit/s. */
const BYTES_PER_SECOND = 16 * 1024;

/**
 * How long so many bytes may be on their way: to be added to the time that an answer to them may take. For connections of others, which do not tell
 * what has arrived; our own links look at that.
 */
export function carryMs(bytes: number): number {
  return Math.ceil((bytes / BYTES_PER_SECOND) * 1_000);
}
