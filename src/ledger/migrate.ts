import { PeerworkError } from '../errors.js';
import type { Driver } from './driver.js';
import { schema0001 } from './schema/0001.js';
import { schema0002 } from './schema/0002.js';

/**
 * Support for time limits of runs and for limits on the jobs that a worker holds.
 *
 * - `begun_at`: when a leased job was last reported as waiting in its worker. Its time counts from then; NULL: from its lease.
 * - Every claim counts a worker's leases, while expiry checks lease ends only now and then: so the worker comes first in the index.
 */
const schema0003 = `
ALTER TABLE job ADD COLUMN begun_at INTEGER;
DROP INDEX job_leased;
CREATE INDEX job_leased ON job (worker, lease_until) WHERE state = 'leased';
`;

/**
 * Distinguishes delays from instants: `dated_at` is the requested `runAt`. A `run_at` equal to it follows the clock when that is set; any
 * other `run_at` is the end of a delay or back-off, and keeps its remaining duration.
 */
const schema0004 = `
ALTER TABLE job ADD COLUMN dated_at INTEGER;
`;

/**
 * Supports finding jobs by id prefix, which is a range scan only where ids are ordered by bytes. SQLite does that; a Postgres database may
 * use a language's collation, in which `b` sorts between `A` and `C`. Only the index is rewritten.
 */
export const schema0005 = ({ byteOrder }: Pick<Driver, 'byteOrder'>): string =>
  byteOrder === undefined ? '' : `ALTER TABLE job ALTER COLUMN id TYPE TEXT COLLATE ${byteOrder};`;

/** Fractional weights: next to the integer part, the fraction in millionths. Sums of both are exact, so tallies return to exactly zero. */
const schema0006 = `
ALTER TABLE job ADD COLUMN weight_part INTEGER NOT NULL DEFAULT 0;
ALTER TABLE grp_tally ADD COLUMN weight_part INTEGER NOT NULL DEFAULT 0;
`;

/** Whether a job runs again (0) or fails (1) when its worker is lost. */
const schema0007 = `
ALTER TABLE job ADD COLUMN worker_loss INTEGER NOT NULL DEFAULT 0;
`;

/**
 * Files of jobs. The content is in the file store, under the hash and the number of the file's row; `job_file` says which jobs need it. `used_at`: when
 * it was stored or last named. `files` of a job go into its run, `outcome_files` came out of its last one.
 */
const schema0008 = `
ALTER TABLE job ADD COLUMN files TEXT;
ALTER TABLE job ADD COLUMN outcome_files TEXT;
CREATE TABLE file (
  seq INTEGER PRIMARY KEY,
  sha256 TEXT NOT NULL UNIQUE,
  size INTEGER NOT NULL,
  used_at INTEGER NOT NULL
);
CREATE INDEX file_used ON file (used_at);
CREATE TABLE job_file (
  job INTEGER NOT NULL,
  file INTEGER NOT NULL,
  PRIMARY KEY (job, file)
);
CREATE INDEX job_file_file ON job_file (file);
INSERT INTO counter (name, value) VALUES ('file', 0);
`;

/**
 * The migrations in order; number n migrates to version n. Never change a released one: add the next, here or, if it is long, in a file of
 * its own.
 */
const migrations: readonly (string | ((driver: Driver) => string))[] = [
  schema0001,
  schema0002,
  schema0003,
  schema0004,
  schema0005,
  schema0006,
  schema0007,
  schema0008,
];

export const SCHEMA_VERSION = migrations.length;

/**
 * Migrates the schema to the current version, all or nothing. Rejects with `ledger-newer` if a later version of peerwork has written it.
 */
export async function migrate(driver: Driver): Promise<void> {
  const begin = driver.exclusively?.bind(driver) ?? driver.transaction.bind(driver);
  await begin(async (sql) => {
    await sql.run('CREATE TABLE IF NOT EXISTS migration (version INTEGER PRIMARY KEY)');
    const [row] = await sql.all<{ version: number | null }>('SELECT MAX(version) AS version FROM migration');
    const version = row?.version ?? 0;
    if (version > SCHEMA_VERSION) throw new PeerworkError('ledger-newer');
    for (const [index, script] of migrations.entries()) {
      if (index < version) continue;
      await driver.exec(typeof script === 'string' ? script : script(driver));
      await sql.run('INSERT INTO migration (version) VALUES (?)', [index + 1]);
    }
  });
}
