import type { ErrorEntry } from './entry.js';

/** Tokens and set-up. */
export const setupErrors = {
  'token-missing': { message: 'No token', hint: 'Run `node worker.js --setup`, or set `token` in .env.', status: 400 },
  'token-malformed': {
    message: 'This is not a peerwork token: {detail}',
    hint: 'Copy the whole line that starts with `pw1.` from the Master; for that of another system see docs/sources/README.md.',
    status: 400,
  },
  'token-cut': { message: 'The token is truncated', hint: 'Copy the token again, including its last character.', status: 400 },
  'token-mistyped': {
    message: 'The token has a wrong character: its checksum does not match',
    hint: 'Copy and paste the token instead of typing it.',
    status: 400,
  },
  'token-newer': {
    message: 'The token was made by a newer version of peerwork',
    hint: 'Update peerwork on this machine.',
    status: 400,
  },
  'option-invalid': {
    message: 'An option has an invalid value: {detail}',
    hint: 'Fix the value; `peerwork help` and .env.example list the allowed values.',
    status: 400,
  },
  'dotenv-encoding': {
    message: 'The environment file is not UTF-8: {detail}',
    hint: 'Save it as UTF-8: in an editor, with `iconv -f UTF-16 -t UTF-8`, or in PowerShell with `Set-Content -Encoding utf8`.',
    status: 400,
  },
  'key-file-unusable': {
    message: 'The key file cannot be used: {detail}',
    hint: 'Restore the file from a backup, or move it away to start fresh with a new token.',
    status: 500,
  },
  'key-file-open': {
    message: 'The key file is readable by other users: {detail}',
    hint: 'Run `chmod 600` on it. If it may have been copied, move it away instead, to start fresh with a new token.',
    status: 500,
  },
  'label-reserved': {
    message: 'This label is reserved: {detail}',
    hint: 'Remove it; the Worker sets `os=`, `arch=` and `isolation=` by itself.',
    status: 400,
  },
  'sandbox-missing': {
    message: 'The requested isolation is not available here: {detail}',
    hint: 'Install bubblewrap and allow unprivileged user namespaces, or request weaker isolation.',
    status: 501,
  },
  'source-invalid': {
    message: 'A source cannot be used: {detail}',
    hint: 'Give each source a unique name of lower-case letters, digits and hyphens.',
    status: 400,
  },
  'home-locked': {
    message: 'Other workers are using this home: {detail}',
    hint: 'Stop them, or give this one its own `--home`.',
    status: 409,
  },
  'home-unusable': {
    message: 'The worker’s home folder cannot be used: {detail}',
    hint: 'Choose another folder with `--home`.',
    status: 500,
  },
} as const satisfies Record<string, ErrorEntry>;
