import type { ErrorEntry } from './entry.js';

/** Setting a Worker up once and keeping it running. */
export const serviceErrors = {
  'worker-unconfigured': {
    message: 'This Worker is not configured yet',
    hint: 'Run `peerwork configure`, which writes .env, then run this command again.',
    status: 400,
    exitCode: 3,
  },
  'service-missing': {
    message: 'No service was installed from this folder: {detail}',
    hint: 'Run `peerwork start-bg` in the folder with the Worker’s .env, or change to the folder it was installed from.',
    status: 404,
    exitCode: 3,
  },
  'service-taken': {
    message: 'Another Worker has this service name: {detail}',
    hint: 'Give this one its own name with `--service-name`.',
    status: 409,
  },
  'service-failed': {
    message: 'The service manager failed: {detail}',
    hint: 'Run `peerwork logs` and `peerwork health` to find the cause.',
    status: 500,
    exitCode: 1,
  },
  'service-record-damaged': {
    message: 'The service record of the Worker is damaged: {detail}',
    hint: 'Move it away, then run `peerwork start-bg` again.',
    status: 500,
  },
  'run-log-missing': {
    message: 'No stored output for this run: {detail}',
    hint: 'Run `peerwork logs --runs` in the Worker’s folder or with its `--home`; each Worker keeps its own logs.',
    status: 404,
  },
  'run-log-ambiguous': {
    message: 'Several runs have an id with this prefix: {detail}',
    hint: 'Use a longer prefix; `peerwork logs --runs` lists the ids.',
    status: 400,
  },
  'keeper-missing': {
    message: 'The requested service manager is not available on this machine: {detail}',
    hint: 'Omit `--keeper` to use what is available.',
    status: 501,
  },
  'install-fleeting': {
    message: 'peerwork was started by npx, whose cache is cleared from time to time',
    hint: 'Install it first (`npm install -g peerwork`), then run `peerwork start-bg`.',
    status: 409,
  },
  'update-failed': {
    message: 'peerwork was not updated: {detail}',
    hint: 'Check the connection to the npm registry and the permissions of the folder; the installed version keeps working.',
    status: 502,
    exitCode: 1,
  },
} as const satisfies Record<string, ErrorEntry>;
