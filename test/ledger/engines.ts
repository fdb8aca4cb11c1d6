import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import type { Driver } from '../../src/ledger/driver.js';
import { migrate } from '../../src/ledger/migrate.js';
import { SqlLedger } from '../../src/ledger/sql-ledger.js';
import { SqliteDriver } from '../../src/ledger/sqlite.js';

/** A way to open an empty ledger; the conformance suite and the model test run on each. */
export interface Engine {
  readonly name: string;
  /** A new ledger, and the driver below it for looking at rows while no call is under way. Both end with the test. */
  open(t: Test, random?: () => number): Promise<{ ledger: SqlLedger; driver: Driver }>;
}

export const engines: readonly Engine[] = [
  { name: 'sqlite file', open: (t, random) => open(t, new SqliteDriver(join(temporaryFolder(t), 'ledger.db')), random) },
  { name: 'sqlite memory', open: (t, random) => open(t, new SqliteDriver(':memory:'), random) },
];

async function open(t: Test, driver: Driver, random: () => number = Math.random) {
  await migrate(driver);
  const ledger = new SqlLedger(driver, random);
  t.teardown(() => ledger.close());
  return { ledger, driver };
}

export function temporaryFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'peerwork-test-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
