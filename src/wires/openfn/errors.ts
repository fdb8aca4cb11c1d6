import { declareErrors } from '../../errors.js';

/** Errors of OpenFn Lightning and its engine. */
export const LightningError = declareErrors({
  'openfn-invalid': {
    message: 'The OpenFn Lightning settings are invalid: {detail}',
    hint: 'Fix the setting; docs/sources/openfn.md describes them.',
    status: 400,
  },
  'openfn-engine-missing': {
    message: 'The engine that runs OpenFn workflows is not installed: {detail}',
    hint: 'Run `npm install @openfn/engine-multi @openfn/runtime` next to peerwork; see docs/sources/openfn.md.',
    status: 501,
  },
  'openfn-engine-broken': {
    message: 'The engine that runs OpenFn workflows is installed, but does not work: {detail}',
    hint: 'Restart the Worker when the machine has CPU and memory to spare; if it persists, reinstall with `npm install @openfn/engine-multi @openfn/runtime` next to peerwork.',
    status: 501,
  },
  'openfn-unreachable': {
    message: 'OpenFn Lightning cannot be reached: {detail}',
    hint: 'Check WORKER_LIGHTNING_SERVICE_URL and that the server is running; the Worker keeps retrying.',
    status: 503,
  },
  'openfn-refused': {
    message: 'OpenFn Lightning rejected this Worker: {detail}',
    hint: 'Check that WORKER_SECRET matches the server’s.',
    status: 403,
  },
  'openfn-run-untrusted': {
    message: 'A run was not signed by the expected OpenFn Lightning: {detail}',
    hint: 'Check WORKER_LIGHTNING_PUBLIC_KEY and the clocks; the Worker takes no more runs until it is restarted.',
    status: 403,
  },
  'openfn-run-lost': {
    message: 'OpenFn Lightning no longer assigns the run to this Worker: {detail}',
    hint: 'No action needed; the server gives it to another Worker or ends it.',
    status: 409,
  },
  'openfn-run-failed': {
    message: 'The workflow did not succeed: {detail}',
    hint: 'Check the run’s log on the server.',
    status: 500,
  },
});
