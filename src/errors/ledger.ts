import type { ErrorEntry } from './entry.js';

/** Jobs and the ledger that remembers them. */
export const ledgerErrors = {
  'value-unstorable': {
    message: 'No database can hold this: {detail}',
    todo: 'Leave NUL characters out of ids, names and other texts.',
    status: 400,
  },
  'job-invalid': {
    message: 'The job cannot be accepted: {detail}',
    todo: 'Correct the job; docs/jobs.md describes every field.',
    status: 400,
  },
  'graph-too-large': {
    message: 'The list names parents and is too large for one transaction: {detail}',
    todo: 'Add it in portions, parents first: a job may name parents that are in the ledger already.',
    status: 413,
  },
  'job-unknown': { message: 'There is no job with this id: {detail}', todo: 'Check the id.', status: 404 },
  'job-ambiguous': {
    message: 'Several jobs have an id that begins so: {detail}',
    todo: 'Write more of the id, up to where it differs.',
    status: 409,
  },
  stale: { message: 'The lease is no longer valid: the job is or was with somebody else', todo: 'Nothing: drop the result.', status: 409 },
  'ledger-unusable': {
    message: 'The ledger cannot be opened: {detail}',
    todo: 'Check the address and its permissions; `sqlite:FILE`, `postgres://…` and `memory:` are understood.',
    status: 500,
  },
  'ledger-encoding': {
    message: 'The database of the ledger cannot hold every text: {detail}',
    todo: "Make one that can: `CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0 LOCALE 'C'`; `peerwork ledger export` and `import` move the jobs.",
    status: 500,
  },
  'ledger-key': {
    message: 'Masters with another key work on this ledger: {detail}…',
    todo: 'Give this Master their key file (`--key-file`), or a database or schema of its own. If they have ended for good, wait a quarter of a minute.',
    status: 409,
  },
  'ledger-newer': { message: 'The ledger was written by a newer peerwork', todo: 'Update peerwork on this machine.', status: 500 },
  'ledger-damaged': {
    message: 'The ledger holds a value that cannot be used: {detail}',
    todo: 'An earlier version, or something else that writes to its database, has put it there; delete or replace that job.',
    status: 500,
  },
  'ledger-away': {
    message: 'The database of the ledger does not answer: {detail}',
    todo: 'Nothing, if it comes back: peerwork keeps trying. An answer that was lost may stand for something done; repeating it with the same ids is safe.',
    status: 503,
  },
  'ledger-not-empty': { message: 'The ledger has jobs already: {detail}', todo: 'Import into a new ledger.', status: 409 },
  'export-invalid': {
    message: 'This is no export of a ledger that can be read here: {detail}',
    todo: 'Export again, and import it with a peerwork that is not older than the one that wrote it.',
    status: 400,
  },
  'job-ended': { message: 'The job has ended: {detail}', todo: 'Retry or reset it first.', status: 409 },
  'parent-unknown': {
    message: 'There is no job that could be the parent: {detail}',
    todo: 'Push the parent first, or in the same push.',
    status: 400,
  },
  'graph-cycle': { message: 'Jobs wait for each other in a circle: {detail}', todo: 'Take one of these parents away.', status: 400 },
  'schedule-invalid': {
    message: 'The schedule cannot be accepted: {detail}',
    todo: 'Correct it; docs/jobs.md describes schedules.',
    status: 400,
  },
  'group-invalid': { message: 'The group cannot be accepted: {detail}', todo: 'Correct the field that is named.', status: 400 },
  'workgroup-invalid': { message: 'The workgroup cannot be accepted: {detail}', todo: 'Correct the field that is named.', status: 400 },
} as const satisfies Record<string, ErrorEntry>;
