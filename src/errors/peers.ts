import type { ErrorEntry } from './entry.js';

/** Finding and reaching peers, and the handshake with them. */
export const peerErrors = {
  // --- finding and reaching peers
  'tracker-unreachable': {
    message: 'No tracker could be reached: {detail}',
    hint: 'Check the internet connection, or use other trackers with `--tracker`.',
    status: 503,
  },
  'tracker-refused': { message: 'A tracker rejected the announce: {detail}', hint: 'Use another tracker with `--tracker`.', status: 502 },
  'master-absent': {
    message: 'Trackers are reachable, but no Master is there',
    hint: 'Start the Master; this worker keeps trying.',
    status: 503,
  },
  'master-busy': {
    message: 'The Master is there, but has not accepted this worker yet',
    hint: 'No action needed; the Master is busy and this worker keeps trying.',
    status: 503,
  },
  'signal-malformed': {
    message: 'A peer sent a connection description that cannot be used: {detail}',
    hint: 'No action needed; it was ignored. If it persists, use another tracker with `--tracker`.',
    status: 400,
  },
  'ice-failed': {
    message: 'The peers found each other, but could not open a path: {detail}',
    hint: 'Add a TURN server to the token, or forward one UDP port to the Master.',
    status: 504,
  },
  'ice-server-unusable': {
    message: 'A STUN or TURN server was skipped: {detail}',
    hint: 'Fix it in `--ice`, or in the token through the Master’s `--ice`; put IPv6 addresses in brackets. Until then the other servers are used.',
    status: 400,
  },
  'network-absent': {
    message: 'This machine has only a loopback network, so no path to the peer could open: {detail}',
    hint: 'Connect it to a network (`ip address` shows none); without one, only peers on this machine can be reached, through 127.0.0.1.',
    status: 503,
  },
  'dtls-failed': {
    message: 'The peers reached each other, but the encryption handshake failed: {detail}',
    hint: 'If it persists, something between the peers alters their traffic: use another tracker, or look for a firewall that inspects DTLS.',
    status: 502,
  },
  'link-timeout': {
    message: 'The link did not open in time',
    hint: 'No action needed; it is retried immediately. If it persists, add a TURN server.',
    status: 504,
  },
  'link-lost': {
    message: 'The link to the peer was lost: {detail}',
    hint: 'No action needed; the worker reconnects by itself.',
    status: 503,
  },
  'link-closed': { message: 'The link was closed', hint: 'No action needed; the link was closed in good order.', status: 503 },

  // --- handshake and frames
  'handshake-timeout': {
    message: 'The peer did not complete the handshake in time',
    hint: 'No action needed; it is retried.',
    status: 504,
  },
  'handshake-malformed': {
    message: 'The peer sent a malformed handshake',
    hint: 'Check that both sides run a compatible version of peerwork.',
    status: 400,
  },
  'handshake-version': {
    message: 'The peer speaks another version of the protocol: {detail}',
    hint: 'Update peerwork on the older side.',
    status: 400,
  },
  'handshake-role': {
    message: 'The peer has the wrong role: {detail}',
    hint: 'Use one Master and any number of Workers per token.',
    status: 400,
  },
  'secret-mismatch': { message: 'The peer does not hold the secret of this token', hint: 'Give both sides the same token.', status: 401 },
  'transfer-secret-mismatch': {
    message: 'The two sides have different values of `transferEncryptToken`',
    hint: 'Set the same 32 characters on both sides, or on neither.',
    status: 401,
  },
  'fingerprint-mismatch': {
    message: 'The connection is being intercepted: the two peers see different certificates',
    hint: 'Stop using this tracker; the connection was refused.',
    status: 401,
  },
  'master-impostor': {
    message: 'The peer claims to be the Master but cannot sign with its key',
    hint: 'Find out who else has the token; the connection was refused.',
    status: 401,
  },
  'worker-impostor': {
    message: 'The peer cannot sign with the key it claims to have',
    hint: 'No action needed; the connection was refused.',
    status: 401,
  },
  'worker-revoked': { message: 'The Master has revoked this worker', hint: 'Contact the Master’s owner.', status: 403 },
  'worker-unapproved': {
    message: 'The Master has not approved this worker yet',
    hint: 'Ask the Master’s owner to approve it; the worker keeps retrying.',
    status: 403,
  },
  'frame-tampered': {
    message: 'A frame was altered, replayed or reordered',
    hint: 'No action needed; the worker reconnects by itself.',
    status: 400,
  },
  'frame-malformed': { message: 'A frame is malformed: {detail}', hint: 'No action needed; the worker reconnects by itself.', status: 400 },
  'frame-oversized': {
    message: 'A message is larger than allowed: {detail}',
    hint: 'Send smaller messages; the limit is in docs/protocol.md.',
    status: 413,
  },

  // --- calls between peers
  'rpc-unknown-verb': { message: 'The peer does not know the call: {detail}', hint: 'Update peerwork on the older side.', status: 404 },
  'rpc-timeout': {
    message: 'The peer did not respond in time: {detail}',
    hint: 'No action needed; the call is retried where that is safe.',
    status: 504,
  },
  'rpc-cancelled': { message: 'The call was cancelled', hint: 'No action needed.', status: 499 },
  'rpc-invalid': {
    message: 'The call has invalid arguments: {detail}',
    hint: 'Check that both sides run a compatible version of peerwork.',
    status: 400,
  },
  'rpc-overloaded': { message: 'The peer has too many calls open', hint: 'No action needed; it is retried.', status: 429 },
  'rpc-failed': { message: 'The call failed on the other side: {detail}', hint: 'Check the log of the other side.', status: 500 },
} as const satisfies Record<string, ErrorEntry>;
