import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Driver } from '../../src/ledger/driver.js';
import { Ledger } from '../../src/ledger/ledger.js';
import { migrate } from '../../src/ledger/migrate.js';
import { PostgresDriver } from '../../src/ledger/postgres.js';
import { SqliteDriver } from '../../src/ledger/sqlite.js';
import { findPostgres, LabPostgres } from '../lab/postgres.js';
import { removeFolder } from '../lab/remove-folder.js';
import { requireThat } from '../lab/require.js';

/** A way to open an empty ledger. The conformance suite and the model test run on each. */
export interface Engine {
  readonly name: string;
  /** Opens a new ledger, and its driver for reading rows while no call is in flight. Both are closed after the test. */
  open(t: Test, random?: () => number): Promise<{ ledger: Ledger; driver: Driver }>;
}

export const engines: readonly Engine[] = [
  { name: 'sqlite file', open: (t, random) => open(t, new SqliteDriver(join(temporaryFolder(t), 'ledger.db')), random) },
  { name: 'sqlite memory', open: (t, random) => open(t, new SqliteDriver(':memory:'), random) },
  ...(requirePostgres(t)
    ? [
        {
          name: 'postgres',
          open: async (t: Test, random?: () => number) => open(t, await PostgresDriver.open(await emptyDatabase()), random),
        },
      ]
    : []),
];

let postgres: Promise<LabPostgres> | undefined;

/** One server per test file, one database per test. */
export function labPostgres(): Promise<LabPostgres> {
  if (postgres === undefined) {
    postgres = LabPostgres.start();
    t.teardown(async () => (await postgres)?.close());
  }
  return postgres;
}

export async function emptyDatabase(): Promise<string> {
  return (await labPostgres()).createDatabase();
}

/** Skips the engine, or fails where all engines are required; the other engines are tested in any case. */
function requirePostgres(t: Test): boolean {
  if (findPostgres() !== undefined) return true;
  void t.test('postgres', async (t) => {
    requireThat(t, false, 'postgres missing: apt-get install postgresql');
  });
  return false;
}

async function open(t: Test, driver: Driver, random: () => number = Math.random) {
  await migrate(driver);
  const ledger = new Ledger(driver, { random }, 0);
  t.teardown(() => ledger.close());
  return { ledger, driver };
}

/** Expires all overdue leases; returns how many. */
export async function expire(ledger: Ledger, now: number): Promise<number> {
  let expired = 0;
  for (;;) {
    const maintained = await ledger.maintain(now);
    expired += maintained.expired;
    if (maintained.nextAt === undefined || maintained.nextAt > now) return expired;
  }
}

/** Returns when the ledger next needs maintenance, leaving leases alone. */
export async function nextWakeAt(ledger: Ledger, now: number): Promise<number | undefined> {
  return (await ledger.maintain(now, { keepLeases: true })).nextAt;
}

export function temporaryFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'peerwork-test-'));
  t.teardown(() => removeFolder(folder));
  return folder;
}
