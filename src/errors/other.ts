import type { ErrorEntry } from './entry.js';

/** Packages that only some need, and that are not installed with peerwork. */
export const packageErrors = {
  'package-missing': {
    message: 'A package that is needed here is not installed: {detail}',
    hint: 'Run that command, or start again with `--install-missing`.',
    status: 501,
  },
  'package-uninstallable': {
    message: 'npm could not install a package: {detail}',
    hint: 'Correct what npm says, then try again.',
    status: 502,
  },
  'registry-unreachable': {
    message: 'npm could not reach its registry: {detail}',
    hint: 'Check the internet connection, the proxy and the `registry` of npm, then try again.',
    status: 503,
  },
} as const satisfies Record<string, ErrorEntry>;

/** Everything else. */
export const otherErrors = {
  closed: { message: 'Already closed', hint: 'Create a new one.', status: 409 },
  'connection-broken': {
    message: 'A connection broke before it was complete: {detail}',
    hint: 'Reconnect; the data received so far is incomplete.',
    status: 502,
  },
  internal: {
    message: 'Internal error: {detail}',
    hint: 'Please report it, with the log at LOG_LEVEL=debug.',
    status: 500,
  },
  'listener-threw': {
    message: 'The program’s own code threw in an event listener or callback: {detail}',
    hint: 'Catch errors there; the job and its outcome are not affected.',
    status: 500,
  },
  'redis-denied': {
    message: 'Redis rejected the login or a command: {detail}',
    hint: 'Fix user and password in its address, or grant that user the keys and commands listed in docs/sources/README.md.',
    status: 502,
  },
  'redis-tls': {
    message: 'No trusted TLS connection to Redis: {detail}',
    hint: 'Set NODE_EXTRA_CA_CERTS=FILE, with its certificate authority, in the environment (`.env` is read too late for that), and use the host name in its certificate; for a Redis without TLS use redis://.',
    status: 502,
  },
  'redis-database': {
    message: 'Redis has no database with this number: {detail}',
    hint: 'Fix the number at the end of its address, or raise `databases` in the server’s redis.conf.',
    status: 502,
  },
} as const satisfies Record<string, ErrorEntry>;
