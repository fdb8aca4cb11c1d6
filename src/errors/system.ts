import type { ErrorEntry } from './entry.js';

/** Refusals by the operating system: `src/kit/system-error.ts` maps system error codes to these. */
export const systemErrors = {
  'file-denied': {
    message: 'Permission denied on a file or folder: {detail}',
    hint: 'Change its owner or mode (`ls -ld` shows them; `chown`, `chmod`), run as its owner, or choose another path.',
    status: 500,
  },
  'file-system-read-only': {
    message: 'The file system is read-only: {detail}',
    hint: 'Choose a path on another file system, or remount this one (`mount -o remount,rw`).',
    status: 500,
  },
  'file-missing': {
    message: 'A file or folder does not exist: {detail}',
    hint: 'Create it (`mkdir -p` for a folder), or fix the path.',
    status: 500,
  },
  'path-through-file': {
    message: 'Expected a folder, found a file: {detail}',
    hint: 'Move that file away, or choose another path.',
    status: 500,
  },
  'path-is-folder': {
    message: 'Expected a file, found a folder: {detail}',
    hint: 'Choose another path, or move the folder away.',
    status: 500,
  },
  'path-loop': {
    message: 'The path contains a loop of symbolic links: {detail}',
    hint: 'Remove the link, or choose another path.',
    status: 500,
  },
  'path-too-long': {
    message: 'The path is longer than the system allows: {detail}',
    hint: 'Choose a shorter path.',
    status: 500,
  },
  'files-exhausted': {
    message: 'Too many files are open: {detail}',
    hint: 'Raise the limit (`ulimit -n 65536`, or the service’s `LimitNOFILE=`), or run fewer programs.',
    status: 503,
  },
  'file-busy': { message: 'Another process is using the file: {detail}', hint: 'Stop that process, then try again.', status: 503 },
  'disk-failing': {
    message: 'Disk input/output error: {detail}',
    hint: 'Check the system log (`dmesg`): the disk or its connection is failing.',
    status: 500,
  },
  'memory-exhausted': {
    message: 'The machine is out of memory: {detail}',
    hint: 'Stop other programs, or run fewer jobs at once (`--concurrency`).',
    status: 503,
  },
  'port-denied': {
    message: 'Permission denied to listen on this port: {detail}',
    hint: 'Choose port 1024 or above.',
    status: 500,
  },
  'address-absent': {
    message: 'This machine has no such address: {detail}',
    hint: 'Use one of its addresses (`ip address` lists them), or 0.0.0.0 for all.',
    status: 500,
  },
  'host-unknown': {
    message: 'Host name not found: {detail}',
    hint: 'Fix the name, or check this machine’s DNS.',
    status: 503,
  },
} as const satisfies Record<string, ErrorEntry>;
