import type { ErrorEntry } from './entry.js';

/** worqr queues on Redis. */
export const worqrErrors = {
  'worqr-unreachable': {
    message: "worqr's Redis cannot be reached: {detail}",
    todo: 'Check the address and the password; it is tried again by itself, and what runs goes on.',
    status: 502,
  },
  'worqr-refused': {
    message: "worqr's Redis did not do what it was asked: {detail}",
    todo: 'Look for other programs that use the same prefix, and at the Redis server; it is tried again by itself.',
    status: 502,
  },
} as const satisfies Record<string, ErrorEntry>;
