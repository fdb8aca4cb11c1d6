/**
 * The one table of everything that can be refused or go wrong: code → what it says, what to do, HTTP status.
 * `docs/errors.md` lists the same codes; a test holds the two together.
 *
 * Codes are kebab-case and never re-used for another meaning. Those under "how a run ended" also appear as
 * `error.code` of a failed outcome.
 */
export interface ErrorEntry {
  /** What happened, one sentence without a full stop; `{detail}` is replaced by the particulars. */
  readonly message: string;
  /** What the reader can do about it, one sentence. */
  readonly todo: string;
  /** The HTTP status that a server answers with. */
  readonly status: number;
}

export const errorTable = {
  // --- tokens and set-up
  'token-missing': { message: 'No token was given', todo: 'Run `node worker.js --setup`, or set `token` in .env.', status: 400 },
  'token-malformed': {
    message: 'This is not a peerwork token: {detail}',
    todo: 'Copy the whole line that starts with `pw1.` from the Master.',
    status: 400,
  },
  'token-cut': { message: 'The token is cut short', todo: 'Copy the token again, to its very last character.', status: 400 },
  'token-mistyped': {
    message: 'The token has a wrong character somewhere: its checksum does not fit',
    todo: 'Copy and paste the token instead of typing it.',
    status: 400,
  },
  'token-newer': {
    message: 'The token is of a newer version than this peerwork understands',
    todo: 'Update peerwork on this machine.',
    status: 400,
  },
  'option-invalid': {
    message: 'An option has a value that cannot be used: {detail}',
    todo: 'Correct the value; `peerwork help` and .env.example list what is allowed.',
    status: 400,
  },
  'key-file-unusable': {
    message: 'The key file cannot be used: {detail}',
    todo: 'Restore the file from a backup, or move it away to begin anew with a new token.',
    status: 500,
  },
  'sandbox-missing': {
    message: 'The isolation that was asked for is not available here: {detail}',
    todo: 'Install bubblewrap and allow unprivileged user namespaces, or ask for less.',
    status: 501,
  },
  'home-locked': {
    message: 'Another process already works in this folder: {detail}',
    todo: 'Stop the other process, or give this one its own `--home`.',
    status: 409,
  },

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

  // --- tasks, files, dependencies
  'task-folder-missing': {
    message: 'The task folder cannot be read: {detail}',
    todo: 'Give `--task` a folder that holds task.js or task.mjs.',
    status: 400,
  },
  'task-entry-missing': {
    message: 'The task has no task.js, task.mjs or task.cjs: {detail}',
    todo: 'Add one that exports a function or a class with `run(job)`.',
    status: 400,
  },
  'task-unknown': {
    message: 'No task serves this channel: {detail}',
    todo: 'Publish a task for the channel, or correct the job.',
    status: 404,
  },
  'asset-path-unsafe': {
    message: 'A file of the task has a path that is not allowed: {detail}',
    todo: 'Use relative paths inside the task folder, without links, and no two that differ only in case.',
    status: 400,
  },
  'asset-too-large': {
    message: 'The task is larger than allowed: {detail}',
    todo: 'Make the task smaller, or raise the limit on the worker.',
    status: 413,
  },
  'asset-hash-mismatch': {
    message: 'A file arrived with other content than announced: {detail}',
    todo: 'Nothing: the file was thrown away and is fetched again.',
    status: 502,
  },
  'asset-unknown': {
    message: 'The peer does not have this file: {detail}',
    todo: 'Nothing: the task has changed meanwhile and is fetched anew.',
    status: 404,
  },
  'manifest-invalid': {
    message: 'The task description cannot be used: {detail}',
    todo: 'Check that both sides run a compatible version of peerwork.',
    status: 400,
  },
  'manifest-unsigned': {
    message: 'The task description is not signed by the Master',
    todo: 'Do not trust this peer; the task was refused.',
    status: 401,
  },
  'manifest-older': {
    message: 'The task description is older than one seen before',
    todo: 'Publish the task again on the Master.',
    status: 409,
  },
  'dependencies-failed': {
    message: 'The dependencies of the task could not be installed: {detail}',
    todo: 'Run `npm ci --ignore-scripts` in the task folder to see why.',
    status: 500,
  },
  'dependencies-unlocked': {
    message: 'The task has dependencies but no lockfile could be made: {detail}',
    todo: 'Run `npm install` in the task folder, so that it has a package-lock.json.',
    status: 400,
  },
  'disk-full': { message: 'The disk is full: {detail}', todo: 'Free some space, or lower the quota.', status: 507 },

  // --- how a run ended
  'task-threw': { message: 'The task threw: {detail}', todo: 'Correct the task; the stack is in the log of the job.', status: 500 },
  'task-unloadable': {
    message: 'The task could not be loaded: {detail}',
    todo: 'Correct the task; the stack is in the log of the job.',
    status: 500,
  },
  'output-unsendable': {
    message: 'The task returned something that cannot be sent: {detail}',
    todo: 'Return plain JSON values.',
    status: 500,
  },
  'output-too-large': {
    message: 'The task returned more than allowed: {detail}',
    todo: 'Return less, or store it elsewhere and return where.',
    status: 413,
  },
  timeout: { message: 'The job ran longer than allowed: {detail}', todo: 'Raise `timeoutMs` of the job, or make it shorter.', status: 504 },
  memory: {
    message: 'The job used more memory than allowed: {detail}',
    todo: 'Raise the memory per job on the worker, or use less.',
    status: 507,
  },
  'scratch-too-large': {
    message: 'The job wrote more files than allowed: {detail}',
    todo: 'Write less, or raise the limit on the worker.',
    status: 507,
  },
  exited: { message: 'The task ended its process: {detail}', todo: 'Return from the task instead of calling process.exit.', status: 500 },
  crashed: { message: 'The process of the task was killed: {detail}', todo: 'Look into the log of the job.', status: 500 },
  cancelled: { message: 'The job was cancelled', todo: 'Nothing.', status: 499 },
  'lease-expired': {
    message: 'The worker was not heard of until its lease ended',
    todo: 'Nothing: the job is given to another worker while it has attempts left.',
    status: 504,
  },
  'worker-lost': {
    message: 'The worker restarted and forgot the job',
    todo: 'Nothing: the job is given to another worker while it has attempts left.',
    status: 503,
  },
  'runner-missing': {
    message: 'This worker cannot run jobs of this kind: {detail}',
    todo: 'Allow the runner on the worker, or give the job to another.',
    status: 501,
  },

  // --- ledger
  'job-invalid': {
    message: 'The job cannot be accepted: {detail}',
    todo: 'Correct the job; docs/jobs.md describes every field.',
    status: 400,
  },
  'job-unknown': { message: 'There is no job with this id: {detail}', todo: 'Check the id.', status: 404 },
  stale: { message: 'The lease is no longer valid: the job is or was with somebody else', todo: 'Nothing: drop the result.', status: 409 },
  'ledger-unusable': {
    message: 'The ledger cannot be opened: {detail}',
    todo: 'Check the address and its permissions; `sqlite:FILE`, `postgres://…` and `memory:` are understood.',
    status: 500,
  },
  'ledger-newer': { message: 'The ledger was written by a newer peerwork', todo: 'Update peerwork on this machine.', status: 500 },
  'ledger-away': {
    message: 'The database of the ledger does not answer: {detail}',
    todo: 'Nothing, if it comes back: peerwork keeps trying. An answer that was lost may stand for something done; repeating it with the same ids is safe.',
    status: 503,
  },

  // --- everything else
  closed: { message: 'It is closed already', todo: 'Create a new one.', status: 409 },
  internal: {
    message: 'Something happened that should not: {detail}',
    todo: 'Please report it with the log at LOG_LEVEL=debug.',
    status: 500,
  },
} as const satisfies Record<string, ErrorEntry>;

export type ErrorCode = keyof typeof errorTable;

/** An error that a user may see: it has a code, says what happened and what to do about it. */
export class PeerworkError extends Error {
  override readonly name = 'PeerworkError';
  readonly code: ErrorCode;
  /** The particulars alone, as given; empty if there are none. */
  readonly detail: string;

  constructor(code: ErrorCode, detail = '', options?: { cause?: unknown }) {
    super(describeError(code, detail), options);
    this.code = code;
    this.detail = detail;
  }

  get todo(): string {
    return errorTable[this.code].todo;
  }

  get status(): number {
    return errorTable[this.code].status;
  }
}

/** The sentence of a code with its particulars filled in. */
export function describeError(code: ErrorCode, detail = ''): string {
  const { message } = errorTable[code] as ErrorEntry;
  if (message.includes('{detail}'))
    return detail === '' ? message.replace(/:? ?\{detail\}/, '') : message.replace('{detail}', () => detail);
  return detail === '' ? message : `${message} (${detail})`;
}

export function isErrorCode(code: unknown): code is ErrorCode {
  return typeof code === 'string' && Object.hasOwn(errorTable, code);
}

/** Whatever was thrown, as a PeerworkError; an unknown error becomes `fallback` with its message as detail. */
export function asPeerworkError(thrown: unknown, fallback: ErrorCode = 'internal'): PeerworkError {
  if (thrown instanceof PeerworkError) return thrown;
  return new PeerworkError(fallback, thrown instanceof Error ? thrown.message : String(thrown), { cause: thrown });
}
