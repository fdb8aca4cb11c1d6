import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { migrate, SCHEMA_VERSION } from '../../src/ledger/migrate.js';
import { openLedger } from '../../src/ledger/open.js';
import { SqliteDriver } from '../../src/ledger/sqlite.js';
import { temporaryFolder } from './engines.js';

const DUMP = fileURLToPath(new URL('../../../src/ledger/schema.sql', import.meta.url));

t.test('the schema that the migrations make is the one in schema.sql', async (t) => {
  const driver = new SqliteDriver(':memory:');
  t.teardown(() => driver.close());
  await migrate(driver);
  const rows = await driver.all<{ sql: string }>('SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY tbl_name, type DESC, name');
  const dump = `-- Version ${SCHEMA_VERSION}, as made by the migrations. Written by \`PEERWORK_WRITE_SCHEMA=1 node build/test/ledger/schema.test.js\`.\n\n${rows
    .map(({ sql }) => `${sql};\n`)
    .join('\n')}`;
  if (process.env['PEERWORK_WRITE_SCHEMA'] === '1') writeFileSync(DUMP, dump);
  t.equal(dump, readFileSync(DUMP, 'utf8'));
});

t.test('migrating is repeatable, all or nothing, and refuses what is newer', async (t) => {
  const file = join(temporaryFolder(t), 'ledger.db');
  const driver = new SqliteDriver(file);
  await driver.exec('CREATE TABLE counter (mine INTEGER)');
  await t.rejects(migrate(driver), /counter/);
  t.strictSame(await driver.all("SELECT name FROM sqlite_master WHERE type = 'table'"), [{ name: 'counter' }]);
  await driver.exec('DROP TABLE counter');
  await migrate(driver);
  await migrate(driver);
  t.strictSame(await driver.all('SELECT COUNT(*) AS count, MAX(version) AS version FROM migration'), [
    { count: SCHEMA_VERSION, version: SCHEMA_VERSION },
  ]);
  await driver.run('INSERT INTO migration (version) VALUES (?)', [SCHEMA_VERSION + 1]);
  await driver.close();
  await t.rejects(openLedger(`sqlite:${file}`), { code: 'ledger-newer' });
  await t.rejects(openLedger(`sqlite:${file}`), { code: 'ledger-newer' }, 'and the refusal lets go of the file');
});

t.test('what cannot be opened', async (t) => {
  const folder = temporaryFolder(t);
  const file = (name: string) => `sqlite:${join(folder, name)}`;
  writeFileSync(join(folder, 'text'), 'this is no ledger, whatever its name says\n'.repeat(100));
  mkdirSync(join(folder, 'folder'));
  for (const url of ['', 'sqlite:', 'sqlite::memory:', 'sqlite:http://there', 'postgres:there', 'ledger.db', 'mysql:x', 'Memory:'])
    await t.rejects(openLedger(url), { code: 'ledger-unusable' }, url);
  const causes = { text: 'ledger-damaged-file', folder: 'path-is-folder', 'missing/ledger.db': 'file-missing' } as const;
  for (const [name, code] of Object.entries(causes)) await t.rejects(openLedger(file(name)), { code }, name);
  t.match(readFileSync(join(folder, 'text'), 'utf8'), /^this is no ledger/, 'and is left alone');
});

t.test('the guard of the driver', async (t) => {
  const driver = new SqliteDriver(':memory:');
  t.teardown(() => driver.close());
  await driver.exec('CREATE TABLE x (a TEXT, b INTEGER)');
  const insert = 'INSERT INTO x (a, b) VALUES (?, ?)';
  for (const bad of [true, undefined, new Date(), {}, Number.NaN, new Uint8Array(1), 1n])
    await t.rejects(driver.run(insert, [bad as never, 1]), TypeError, String(bad));
  await t.rejects(driver.run(insert, ['a\0b', 1]), { code: 'value-unstorable' }, 'a text may come from anybody');
  t.equal(await driver.run(insert, [null, Number.MAX_SAFE_INTEGER]), 1);
  t.equal(await driver.run(insert, ['', -0]), 1);
  t.strictSame(await driver.all('SELECT * FROM x'), [
    { a: null, b: Number.MAX_SAFE_INTEGER },
    { a: '', b: 0 },
  ]);
  t.strictSame(await driver.all('SELECT b FROM x WHERE a IS ?', [null]), [{ b: Number.MAX_SAFE_INTEGER }], 'a lone null is a value');
  await t.rejects(driver.all('SELECT nothing FROM nowhere'));
});

t.test('a full disk', async (t) => {
  const file = join(temporaryFolder(t), 'ledger.db');
  const driver = new SqliteDriver(file);
  await driver.exec('CREATE TABLE x (a TEXT); PRAGMA max_page_count=20');
  const fill = driver.transaction(async (sql) => {
    for (;;) await sql.run('INSERT INTO x (a) VALUES (?)', ['x'.repeat(1_000)]);
  });
  await t.rejects(fill, { code: 'disk-full' });
  t.strictSame(await driver.all('SELECT COUNT(*) AS n FROM x'), [{ n: 0 }], 'rolled back, and usable');
  await driver.close();
});
