import type { ErrorEntry } from './entry.js';

/** Files of jobs. */
export const fileErrors = {
  'file-unknown': {
    message: 'The file store does not have this file: {detail}',
    hint: 'Store it first: `peerwork push --file name=path`, `master.push` with a path, or `PUT /v1/files/<sha256>`.',
    status: 404,
  },
  'file-mismatch': {
    message: 'The content is not what was announced: {detail}',
    hint: 'Compute SHA-256 and size of the file again, and send it from the beginning.',
    status: 422,
  },
  'file-too-large': {
    message: 'The file is too large: {detail}',
    hint: 'Split it into smaller files.',
    status: 413,
  },
  'file-lost': {
    message: 'The content of a stored file is missing or damaged: {detail}',
    hint: 'Restore the folder of the file store from a backup, or push the job again with the file.',
    status: 500,
  },
  'files-invalid': {
    message: 'The run left files that cannot be returned: {detail}',
    hint: 'Leave at most 1,000 ordinary files with portable names in `context.outdir`; pack more into an archive.',
    status: 422,
  },
  'upload-position': {
    message: 'The upload does not go on at this byte: {detail}',
    hint: 'Ask for the length with `HEAD /v1/files/<sha256>`, and go on from there.',
    status: 409,
  },
} as const satisfies Record<string, ErrorEntry>;
