import type { ErrorEntry } from './entry.js';

/** Tunnels: the one address at the Master that a job may reach through the link. None of them tells the address. */
export const tunnelErrors = {
  'tunnel-invalid': {
    message: 'A tunnel cannot be offered: {detail}',
    todo: 'Write `name=host:port`, the name of small letters, digits and hyphens.',
    status: 400,
  },
  'tunnel-none': {
    message: 'The task of this job names no tunnel',
    todo: 'Name one in task.json, such as `"tunnel": "redis"`.',
    status: 403,
  },
  'tunnel-unknown': {
    message: 'The Master offers no tunnel of this name: {detail}',
    todo: 'Start the Master with `--tunnel name=host:port`, or correct the name in task.json.',
    status: 404,
  },
  'tunnel-lease-ended': {
    message: 'The tunnel has ended with the lease of its job',
    todo: 'Nothing: the job has ended, or was given to another worker.',
    status: 409,
  },
  'tunnel-full': {
    message: 'Too many connections are open through the tunnel: {detail}',
    todo: 'Close some, or use fewer connections for more commands each.',
    status: 429,
  },
  'tunnel-unreachable': {
    message: 'The Master cannot reach the address of the tunnel: {detail}',
    todo: 'Check that the server behind it runs and that the Master was given its address.',
    status: 502,
  },
  'tunnel-broken': {
    message: 'The connection behind the tunnel broke: {detail}',
    todo: 'Connect again; if it persists, look at the server behind the tunnel.',
    status: 502,
  },
  'tunnel-unsupported': {
    message: 'The Master is of a version that has no tunnels',
    todo: 'Update peerwork on the Master.',
    status: 501,
  },
} as const satisfies Record<string, ErrorEntry>;
