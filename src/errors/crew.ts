import type { ErrorEntry } from './entry.js';

/** Servers of crew, and its operators that call us. */
export const crewErrors = {
  'crew-unreachable': {
    message: 'The crew server cannot be reached: {detail}',
    todo: 'Check the address; it is tried again by itself, and what runs goes on.',
    status: 502,
  },
  'crew-refused': {
    message: 'The crew server refused a request: {detail}',
    todo: 'Check the address and the authorization; it is tried again by itself.',
    status: 502,
  },
  'crew-endpoint-unusable': {
    message: 'The endpoint for operators of crew cannot be opened: {detail}',
    todo: 'Choose another port, and give it a token if others than this machine shall reach it.',
    status: 500,
  },
} as const satisfies Record<string, ErrorEntry>;
