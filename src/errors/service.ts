import type { ErrorEntry } from './entry.js';

/** A Worker that is set up once and kept running. */
export const serviceErrors = {
  'worker-unconfigured': {
    message: 'This Worker has nobody to work for yet',
    todo: 'Run `peerwork configure`, which writes .env, and then this again.',
    status: 400,
  },
  'service-missing': {
    message: 'No Worker was installed from this folder: {detail}',
    todo: 'Run `peerwork start-bg` in the folder that holds the .env of the Worker, or change into that folder.',
    status: 404,
  },
  'service-taken': {
    message: 'Another Worker has this service name: {detail}',
    todo: 'Give this one a name of its own with `--service-name`.',
    status: 409,
  },
  'service-failed': {
    message: 'The service does not do what it was told: {detail}',
    todo: 'See `peerwork logs` and `peerwork health` for the reason.',
    status: 500,
  },
  'keeper-missing': {
    message: 'This machine has not what was asked to keep the Worker running: {detail}',
    todo: 'Leave `--keeper` out to take what is there.',
    status: 501,
  },
  'install-fleeting': {
    message: 'peerwork was started by npx, whose cache is emptied one day',
    todo: 'Install it first (`npm install -g peerwork`), then run `peerwork start-bg`.',
    status: 409,
  },
  'update-failed': {
    message: 'peerwork was not updated: {detail}',
    todo: 'Check the connection to the npm registry and the rights on the folder; the present version goes on working.',
    status: 502,
  },
} as const satisfies Record<string, ErrorEntry>;
