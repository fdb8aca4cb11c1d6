import type { ErrorEntry } from './entry.js';

/** Tokens and set-up. */
export const setupErrors = {
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
  'dotenv-encoding': {
    message: 'The file of variables is not written in UTF-8: {detail}',
    todo: 'Save it as UTF-8: in an editor, by `iconv -f UTF-16 -t UTF-8`, or in PowerShell with `Set-Content -Encoding utf8`.',
    status: 400,
  },
  'key-file-unusable': {
    message: 'The key file cannot be used: {detail}',
    todo: 'Restore the file from a backup, or move it away to begin anew with a new token.',
    status: 500,
  },
  'label-reserved': {
    message: 'A label of this name is not given by the owner: {detail}',
    todo: 'Leave it out: `os=`, `arch=` and `isolation=` the Worker finds out by itself.',
    status: 400,
  },
  'sandbox-missing': {
    message: 'The isolation that was asked for is not available here: {detail}',
    todo: 'Install bubblewrap and allow unprivileged user namespaces, or ask for less.',
    status: 501,
  },
  'source-invalid': {
    message: 'A source cannot be used: {detail}',
    todo: 'Give each source a name of its own, of small letters, digits and hyphens.',
    status: 400,
  },
  'home-locked': {
    message: 'Other workers use this home: {detail}',
    todo: 'Stop them, or give this one its own `--home`.',
    status: 409,
  },
  'home-unusable': {
    message: 'The worker cannot keep its files there: {detail}',
    todo: 'Name another folder with `--home`.',
    status: 500,
  },
} as const satisfies Record<string, ErrorEntry>;
