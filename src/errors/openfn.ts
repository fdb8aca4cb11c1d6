import type { ErrorEntry } from './entry.js';

/** OpenFn Lightning and its engine. */
export const openfnErrors = {
  'openfn-invalid': {
    message: 'OpenFn Lightning cannot be worked for as it is set up: {detail}',
    todo: 'Correct the setting; docs/sources/openfn.md describes them.',
    status: 400,
  },
  'openfn-engine-missing': {
    message: 'The engine that runs OpenFn workflows is not installed: {detail}',
    todo: 'Run `npm install @openfn/engine-multi @openfn/runtime` beside peerwork; docs/sources/openfn.md says more.',
    status: 501,
  },
  'openfn-unreachable': {
    message: 'OpenFn Lightning cannot be reached: {detail}',
    todo: 'Check WORKER_LIGHTNING_SERVICE_URL and whether the server runs; the Worker keeps trying.',
    status: 503,
  },
  'openfn-refused': {
    message: 'OpenFn Lightning refuses this Worker: {detail}',
    todo: 'Check that WORKER_SECRET is the same as the server’s.',
    status: 403,
  },
  'openfn-run-untrusted': {
    message: 'A run was not signed by the OpenFn Lightning that is expected: {detail}',
    todo: 'Check WORKER_LIGHTNING_PUBLIC_KEY and the clocks; no more runs are taken until the Worker is started again.',
    status: 403,
  },
  'openfn-run-lost': {
    message: 'OpenFn Lightning does not give the run to this Worker any more: {detail}',
    todo: 'Nothing: the server gives it to another Worker or ends it.',
    status: 409,
  },
  'openfn-run-failed': {
    message: 'The workflow did not succeed: {detail}',
    todo: 'Look into the run’s log on the server.',
    status: 500,
  },
} as const satisfies Record<string, ErrorEntry>;
