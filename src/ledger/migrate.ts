import { PeerworkError } from '../errors.js';
import type { Driver } from './driver.js';
import { schema0001 } from './schema/0001.js';
import { schema0002 } from './schema/0002.js';
import { schema0003 } from './schema/0003.js';
import { schema0004 } from './schema/0004.js';

/** In order; number n is the migration to version n. Never change one that was released: add the next. */
const migrations: readonly string[] = [schema0001, schema0002, schema0003, schema0004];

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
      await driver.exec(script);
      await sql.run('INSERT INTO migration (version) VALUES (?)', [index + 1]);
    }
  });
}
