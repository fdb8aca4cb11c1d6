import type { ErrorEntry } from './entry.js';

/** What the system refuses: `src/kit/system-error.ts` says which of its codes become these. */
export const systemErrors = {
  'file-denied': {
    message: 'This user may not do that with a file or folder: {detail}',
    todo: 'Give this user the rights (`ls -ld` shows whose it is: `chown` or `chmod` it), run as its owner, or name another place.',
    status: 500,
  },
  'file-system-read-only': {
    message: 'The file system there can only be read: {detail}',
    todo: 'Name a place on another one, or mount this one for writing (`mount -o remount,rw`).',
    status: 500,
  },
  'file-missing': {
    message: 'A file or folder is not there: {detail}',
    todo: 'Create it (`mkdir -p` for a folder), or correct the path.',
    status: 500,
  },
  'path-through-file': {
    message: 'There is a file where a folder should be: {detail}',
    todo: 'Move that file away, or name another place.',
    status: 500,
  },
  'path-is-folder': {
    message: 'There is a folder where a file should be: {detail}',
    todo: 'Name a file, or move the folder away.',
    status: 500,
  },
  'path-loop': {
    message: 'The path goes through links that lead to each other: {detail}',
    todo: 'Remove the link, or name another place.',
    status: 500,
  },
  'path-too-long': {
    message: 'The path is longer than the system allows: {detail}',
    todo: 'Name a place with a shorter path.',
    status: 500,
  },
  'files-exhausted': {
    message: 'Too many files are open: {detail}',
    todo: 'Raise the limit (`ulimit -n 65536`, or `LimitNOFILE=` of the service), or run fewer programs.',
    status: 503,
  },
  'file-busy': { message: 'Something else uses the file: {detail}', todo: 'Stop that program, then try again.', status: 503 },
  'disk-failing': {
    message: 'The disk does not do what it is told: {detail}',
    todo: 'Look into the log of the system (`dmesg`): the disk, or the connection to it, is broken.',
    status: 500,
  },
  'memory-exhausted': {
    message: 'The machine has no memory left: {detail}',
    todo: 'End other programs, or run fewer jobs at once (`--concurrency`).',
    status: 503,
  },
  'port-denied': {
    message: 'This user may not listen there: {detail}',
    todo: 'Choose a port from 1024 on.',
    status: 500,
  },
  'address-absent': {
    message: 'This machine has no such address: {detail}',
    todo: 'Choose one that it has (`ip address` lists them), or 0.0.0.0 for all.',
    status: 500,
  },
  'host-unknown': {
    message: 'No address is known for this name: {detail}',
    todo: 'Correct the name, or check the DNS of this machine.',
    status: 503,
  },
} as const satisfies Record<string, ErrorEntry>;
