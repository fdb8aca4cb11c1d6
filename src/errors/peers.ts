import type { ErrorEntry } from './entry.js';

/** Finding and reaching peers, and the handshake with them. */
export const peerErrors = {
  // --- finding and reaching peers
  'tracker-unreachable': {
    message: 'No tracker could be reached: {detail}',
    todo: 'Check the internet connection, or name other trackers with `--tracker`.',
    status: 503,
  },
  'tracker-refused': { message: 'A tracker refused the announce: {detail}', todo: 'Name another tracker with `--tracker`.', status: 502 },
  'master-absent': {
    message: 'The trackers answer, but no Master is there',
    todo: 'Start the Master; this worker keeps looking.',
    status: 503,
  },
  'master-busy': {
    message: 'The Master is there, but has not taken up this worker yet',
    todo: 'Nothing: it is busy, and this worker keeps asking.',
    status: 503,
  },
  'signal-malformed': {
    message: 'A peer sent a connection description that cannot be used: {detail}',
    todo: 'Nothing: it was ignored. If it persists, name another tracker with `--tracker`.',
    status: 400,
  },
  'ice-failed': {
    message: 'The peers found each other, but no path between them opened: {detail}',
    todo: 'Add a TURN server to the token, or forward one UDP port to the Master.',
    status: 504,
  },
  'ice-server-unusable': {
    message: 'A STUN or TURN server was left out: {detail}',
    todo: 'Correct it in `--ice`, or in the token by the `--ice` of the Master; an IPv6 address stands in brackets. The others are used meanwhile.',
    status: 400,
  },
  'network-absent': {
    message: 'This machine has no network but its own loopback, so no path to the peer opened: {detail}',
    todo: 'Connect it to a network (`ip address` shows none); only peers on this very machine can be reached, and those by 127.0.0.1.',
    status: 503,
  },
  'dtls-failed': {
    message: 'The peers reached each other, but no encryption came up between them: {detail}',
    todo: 'If it stays so, something between the peers changes what they send: use another tracker, or look for a firewall that inspects DTLS.',
    status: 502,
  },
  'link-timeout': {
    message: 'The link did not open in time',
    todo: 'Nothing: it is tried again at once. If it persists, add a TURN server.',
    status: 504,
  },
  'link-lost': { message: 'The link to the peer was lost: {detail}', todo: 'Nothing: the worker reconnects by itself.', status: 503 },
  'link-closed': { message: 'The link was closed', todo: 'Nothing: this is an orderly end.', status: 503 },

  // --- handshake and frames
  'handshake-timeout': { message: 'The peer did not complete the handshake in time', todo: 'Nothing: it is tried again.', status: 504 },
  'handshake-malformed': {
    message: 'The peer sent a handshake that cannot be read',
    todo: 'Check that both sides run a compatible version of peerwork.',
    status: 400,
  },
  'handshake-version': {
    message: 'The peer speaks another version of the protocol: {detail}',
    todo: 'Update peerwork on the older side.',
    status: 400,
  },
  'handshake-role': {
    message: 'The peer has the wrong role: {detail}',
    todo: 'Use one Master and any number of Workers for a token.',
    status: 400,
  },
  'secret-mismatch': { message: 'The peer does not hold the secret of this token', todo: 'Give both sides the same token.', status: 401 },
  'transfer-secret-mismatch': {
    message: 'The two sides have different `transferEncryptToken`s',
    todo: 'Set the same 32 characters on both sides, or on neither.',
    status: 401,
  },
  'fingerprint-mismatch': {
    message: 'Somebody stands between the peers: the certificates they see differ',
    todo: 'Do not use this tracker any more; the connection was refused.',
    status: 401,
  },
  'master-impostor': {
    message: 'The peer claims to be the Master but cannot sign with its key',
    todo: 'Ask who else holds the token; the connection was refused.',
    status: 401,
  },
  'worker-impostor': {
    message: 'The peer cannot sign with the key that it claims',
    todo: 'Nothing: the connection was refused.',
    status: 401,
  },
  'worker-revoked': { message: 'The Master has revoked this worker', todo: 'Ask the owner of the Master.', status: 403 },
  'worker-unapproved': {
    message: 'The Master has not approved this worker yet',
    todo: 'Ask the owner of the Master to approve it; it is tried again.',
    status: 403,
  },
  'frame-tampered': {
    message: 'A frame was altered, replayed or out of order',
    todo: 'Nothing: the link was ended and is made anew.',
    status: 400,
  },
  'frame-malformed': { message: 'A frame cannot be read: {detail}', todo: 'Nothing: the link was ended and is made anew.', status: 400 },
  'frame-oversized': {
    message: 'A message is larger than allowed: {detail}',
    todo: 'Send less at once; the limit is in docs/protocol.md.',
    status: 413,
  },

  // --- calls between peers
  'rpc-unknown-verb': { message: 'The peer does not know the call: {detail}', todo: 'Update peerwork on the older side.', status: 404 },
  'rpc-timeout': {
    message: 'The peer did not answer in time: {detail}',
    todo: 'Nothing: it is tried again where that is safe.',
    status: 504,
  },
  'rpc-cancelled': { message: 'The call was cancelled', todo: 'Nothing.', status: 499 },
  'rpc-invalid': {
    message: 'The call has arguments that cannot be used: {detail}',
    todo: 'Check that both sides run a compatible version of peerwork.',
    status: 400,
  },
  'rpc-overloaded': { message: 'The peer has too many calls open', todo: 'Nothing: it is tried again.', status: 429 },
  'rpc-failed': { message: 'The call failed on the other side: {detail}', todo: 'Look into the log of the other side.', status: 500 },
} as const satisfies Record<string, ErrorEntry>;
