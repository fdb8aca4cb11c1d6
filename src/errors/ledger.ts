import type { ErrorEntry } from './entry.js';

/** Jobs and the ledger that stores them. */
export const ledgerErrors = {
  'value-unstorable': {
    message: 'This value cannot be stored in a database: {detail}',
    hint: 'Remove NUL characters from ids, names and other strings.',
    status: 400,
  },
  'job-invalid': {
    message: 'The job cannot be accepted: {detail}',
    hint: 'Fix the job; docs/jobs.md describes every field.',
    status: 400,
  },
  'job-too-large': {
    message: 'A job exceeds the size or nesting limit: {detail}',
    hint: 'Store large data in a file, a database or at a URL, and put only its location in the job; docs/jobs.md lists the limits.',
    status: 413,
  },
  'graph-too-large': {
    message: 'The list has parent references and is too large for one transaction: {detail}',
    hint: 'Push it in batches, parents first: a job may reference parents that are already in the ledger.',
    status: 413,
  },
  'job-unknown': { message: 'No job with this id: {detail}', hint: 'Check the id.', status: 404 },
  'job-ambiguous': {
    message: 'Several jobs have an id with this prefix: {detail}',
    hint: 'Use a longer prefix.',
    status: 409,
  },
  stale: {
    message: 'The lease is no longer valid: the job was leased to another worker',
    hint: 'No action needed; discard the result.',
    status: 409,
  },
  'ledger-unusable': {
    message: 'The ledger cannot be opened: {detail}',
    hint: 'Fix the address in `--ledger`: `sqlite:FILE`, `postgres://USER:PASSWORD@HOST:PORT/DATABASE` or `memory:`.',
    status: 500,
  },
  'ledger-unreachable': {
    message: 'No database is responding at the ledger’s address: {detail}',
    hint: 'Start the database, or fix host and port in `--ledger`; check with `pg_isready -h HOST -p PORT`, and look for a firewall in between.',
    status: 503,
  },
  'ledger-login': {
    message: 'The ledger’s database rejected the login: {detail}',
    hint: 'Fix user and password in `--ledger` (escape `@` as %40 and `%` as %25), or allow the user in the server’s pg_hba.conf; if the detail says `no encryption`, append `?sslmode=verify-full` to the address.',
    status: 500,
  },
  'ledger-database-missing': {
    message: 'The ledger’s database does not exist: {detail}',
    hint: 'Create it (`createdb -h HOST -p PORT -U USER -E UTF8 -T template0 NAME`), or fix its name in `--ledger`.',
    status: 500,
  },
  'ledger-schema-missing': {
    message: 'The database has no schema that the ledger can use: {detail}',
    hint: 'Create the schema in the user’s `search_path` (`CREATE SCHEMA name AUTHORIZATION user`), or fix that path (`ALTER ROLE user SET search_path = name`).',
    status: 500,
  },
  'ledger-rights': {
    message: 'The database user lacks privileges that the ledger needs: {detail}',
    hint: 'Grant them (`GRANT ALL ON SCHEMA public TO user`; for tables created by another user: `ALTER TABLE name OWNER TO user`), or use a separate database.',
    status: 500,
  },
  'ledger-tls': {
    message: 'No trusted TLS connection to the ledger’s database: {detail}',
    hint: 'Set its certificate authority (append `?sslmode=verify-full&sslrootcert=FILE` to `--ledger`) and use the host name in its certificate; omit `sslmode` for a server without TLS.',
    status: 502,
  },
  'ledger-connections': {
    message: 'The ledger’s database has no connections left: {detail}',
    hint: 'Close other clients, or raise the limit: the server’s `max_connections`, or `ALTER ROLE user CONNECTION LIMIT -1`. A Master needs two.',
    status: 503,
  },
  'ledger-read-only': {
    message: 'The ledger’s database is read-only: {detail}',
    hint: 'Point `--ledger` at the primary, promote this server (`SELECT pg_promote()`), or turn off its `default_transaction_read_only`.',
    status: 500,
  },
  'ledger-server-old': {
    message: 'The ledger’s database server is too old: {detail}',
    hint: 'Use Postgres 12 or newer.',
    status: 500,
  },
  'ledger-encoding': {
    message: 'The ledger’s database encoding cannot store all text: {detail}',
    hint: "Create one that can: `CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0 LOCALE 'C'`; `peerwork ledger export` and `import` move the jobs.",
    status: 500,
  },
  'ledger-key': {
    message: 'Masters with a different key are using this ledger: {detail}…',
    hint: 'Give this Master their key file (`--key-file`), or its own database or schema. If they have stopped for good, wait 15 seconds.',
    status: 409,
  },
  'ledger-locked': {
    message: 'Another process has this ledger open: {detail}',
    hint: 'Stop that process, or give this Master its own file with `--ledger`; to share a ledger among Masters, use Postgres.',
    status: 409,
  },
  'ledger-damaged-file': {
    message: 'This file is not a ledger, or is damaged: {detail}',
    hint: 'Restore it from a backup, or move it away to start fresh; `sqlite3 FILE .recover` salvages what is readable.',
    status: 500,
  },
  'ledger-newer': { message: 'The ledger was written by a newer peerwork', hint: 'Update peerwork on this machine.', status: 500 },
  'ledger-damaged': {
    message: 'The ledger contains an invalid value: {detail}',
    hint: 'Delete or replace that job; an earlier version, or another program with access to the database, wrote the value.',
    status: 500,
  },
  'ledger-away': {
    message: 'The ledger’s database is not responding: {detail}',
    hint: 'No action needed if it comes back; peerwork keeps retrying. A request whose response was lost may have taken effect; repeating it with the same ids is safe.',
    status: 503,
  },
  'ledger-not-empty': { message: 'The ledger already contains jobs: {detail}', hint: 'Import into a new ledger.', status: 409 },
  'export-invalid': {
    message: 'This is not a readable ledger export: {detail}',
    hint: 'Export again, and import with the same or a newer version of peerwork.',
    status: 400,
  },
  'job-ended': { message: 'The job has ended: {detail}', hint: 'Retry or reset it first.', status: 409 },
  'parent-unknown': {
    message: 'Parent job not found: {detail}',
    hint: 'Push the parent first, or in the same request.',
    status: 400,
  },
  'graph-cycle': { message: 'The jobs’ parents form a cycle: {detail}', hint: 'Remove one of these parents.', status: 400 },
  'schedule-invalid': {
    message: 'The schedule cannot be accepted: {detail}',
    hint: 'Fix it; docs/jobs.md describes schedules.',
    status: 400,
  },
  'group-invalid': { message: 'The group cannot be accepted: {detail}', hint: 'Fix the named field.', status: 400 },
  'workgroup-invalid': { message: 'The workgroup cannot be accepted: {detail}', hint: 'Fix the named field.', status: 400 },
} as const satisfies Record<string, ErrorEntry>;
