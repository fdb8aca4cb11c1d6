import type { ErrorEntry } from './entry.js';

/** Tunnels: the one address near the Master that a job may reach through the link. No message reveals that address. */
export const tunnelErrors = {
  'tunnel-invalid': {
    message: 'A tunnel cannot be offered: {detail}',
    hint: 'Write `name=host:port`; the name consists of lower-case letters, digits and hyphens.',
    status: 400,
  },
  'tunnel-none': {
    message: 'The job’s task declares no tunnel',
    hint: 'Declare one in task.json, such as `"tunnel": "redis"`.',
    status: 403,
  },
  'tunnel-unknown': {
    message: 'The Master offers no tunnel with this name: {detail}',
    hint: 'Start the Master with `--tunnel name=host:port`, or fix the name in task.json.',
    status: 404,
  },
  'tunnel-lease-ended': {
    message: 'The tunnel closed with the lease of its job',
    hint: 'No action needed; the job has ended or was given to another worker.',
    status: 409,
  },
  'tunnel-full': {
    message: 'Too many connections are open through the tunnel: {detail}',
    hint: 'Close some, or send more commands over fewer connections.',
    status: 429,
  },
  'tunnel-unreachable': {
    message: 'The Master cannot reach the tunnel’s address: {detail}',
    hint: 'Check that the server behind it is running and that the Master has its address.',
    status: 502,
  },
  'tunnel-broken': {
    message: 'The connection behind the tunnel broke: {detail}',
    hint: 'Reconnect; if it persists, check the server behind the tunnel.',
    status: 502,
  },
  'tunnel-unsupported': {
    message: 'The Master’s version does not support tunnels',
    hint: 'Update peerwork on the Master.',
    status: 501,
  },
} as const satisfies Record<string, ErrorEntry>;
