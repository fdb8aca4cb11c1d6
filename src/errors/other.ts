import type { ErrorEntry } from './entry.js';

/** Everything else. */
export const otherErrors = {
  closed: { message: 'It is closed already', todo: 'Create a new one.', status: 409 },
  'connection-broken': {
    message: 'A connection broke before its end: {detail}',
    todo: 'Connect again; what came through it is not complete.',
    status: 502,
  },
  internal: {
    message: 'Something happened that should not: {detail}',
    todo: 'Please report it with the log at LOG_LEVEL=debug.',
    status: 500,
  },
  'redis-denied': {
    message: 'A Redis refuses who we are, or what we may: {detail}',
    todo: 'Correct user and password in its address, or give that user the keys and commands: see docs/sources/README.md.',
    status: 502,
  },
} as const satisfies Record<string, ErrorEntry>;
