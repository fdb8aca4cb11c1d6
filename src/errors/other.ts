import type { ErrorEntry } from './entry.js';

/** Everything else. */
export const otherErrors = {
  closed: { message: 'It is closed already', todo: 'Create a new one.', status: 409 },
  internal: {
    message: 'Something happened that should not: {detail}',
    todo: 'Please report it with the log at LOG_LEVEL=debug.',
    status: 500,
  },
} as const satisfies Record<string, ErrorEntry>;
