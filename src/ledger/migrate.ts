import { PeerworkError } from '../errors.js';
import type { Driver } from './driver.js';
import { schema0001 } from './schema/0001.js';
import { schema0002 } from './schema/0002.js';

/**
 * What the time limit of a run and the number of jobs that a worker holds need.
 *
 * - `begun_at`: when a leased job was last said to wait in its worker. Its time counts from then; NULL: from its lease.
 * - What is leased is counted by worker at each claim, and looked at by the ends of leases only now and then: so the worker comes first.
 */
const schema0003 = `
ALTER TABLE job ADD COLUMN begun_at INTEGER;
DROP INDEX job_leased;
CREATE INDEX job_leased ON job (worker, lease_until) WHERE state = 'leased';
`;

/**
 * What tells a delay from an instant: `dated_at` is the `runAt` that was asked for. A `run_at` that equals it follows the clock when that is set; any
 * other is the end of a delay or a back-off, and keeps what is left of it.
 */
const schema0004 = `
ALTER TABLE job ADD COLUMN dated_at INTEGER;
`;

/**
 * What finds jobs by the beginning of their id: a range of ids is one only where they are ordered by their bytes. In SQLite they are; a database of Postgres may
 * order them as a language does, in which `b` stands between `A` and `C`. Nothing is rewritten but the index.
 */
export const schema0005 = ({ byteOrder }: Pick<Driver, 'byteOrder'>): string =>
  byteOrder === undefined ? '' : `ALTER TABLE job ALTER COLUMN id TYPE TEXT COLLATE ${byteOrder};`;

/** Weights with decimals: beside the whole number, the rest in millionths. Sums of both are exact, so that what was counted up comes down to nothing again. */
const schema0006 = `
ALTER TABLE job ADD COLUMN weight_part INTEGER NOT NULL DEFAULT 0;
ALTER TABLE grp_tally ADD COLUMN weight_part INTEGER NOT NULL DEFAULT 0;
`;

/** Whether a job whose worker was lost runs again (0) or fails (1). */
const schema0007 = `
ALTER TABLE job ADD COLUMN worker_loss INTEGER NOT NULL DEFAULT 0;
`;

/**
 * Files of jobs. The content is in the file store, under the hash and the number of the file's row; `job_file` says which jobs need it. `used_at`: when
 * it was stored or last named by a new job.
 */
const schema0008 = `
ALTER TABLE job ADD COLUMN files TEXT;
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
 * In order; number n is the migration to version n. Never change one that was released: add the next, here, or in a file of its own if it is long.
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

/** Brings the schema up to date, all or nothing. Rejects with `ledger-newer` if a later peerwork has written it. */
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
