import t, { type Test } from 'tap';
import { Ledger } from '../../src/ledger/ledger.js';
import { migrate, schema0005 } from '../../src/ledger/migrate.js';
import { PostgresDriver } from '../../src/ledger/postgres.js';
import { findPostgres } from '../lab/postgres.js';
import { type Engine, engines, labPostgres } from './engines.js';
import { NOW } from './verbs.js';

/**
 * Cases where a language's collation mixes upper and lower case, sorts accented letters after their base letter, or considers hyphens last
 * or not at all.
 */
const BEGINNINGS = ['a', 'A', 'b', 'B', 'ä', 'Ä', 'z', 'Z', '-', '_', '0', '9', 'ch', 'é', '\ud7ff', '\ue000', '😀', '\u{10ffff}'];
const IDS = [...new Set(BEGINNINGS.flatMap((one) => [one, `${one}a`, `${one}-A`, `${one}\u{10ffff}`, `${one}\u{10ffff}b`, `-${one}`]))];
const PREFIXES = [...BEGINNINGS, ...IDS.slice(0, 30), 'a-', 'none', '\u{10ffff}\u{10ffff}'];

const asBytes = (a: string, b: string) => Buffer.compare(Buffer.from(a), Buffer.from(b));

const inEnglish: Engine = {
  name: 'postgres, a database in English order',
  open: async (t) => {
    const driver = await PostgresDriver.open(await (await labPostgres()).createDatabase('UTF8', 'en-US'));
    await migrate(driver);
    const ledger = new Ledger(driver, {}, 0);
    t.teardown(() => ledger.close());
    return { ledger, driver };
  },
};

async function checkPrefixes(t: Test, { ledger }: Pick<Awaited<ReturnType<Engine['open']>>, 'ledger'>): Promise<void> {
  for (const prefix of PREFIXES) {
    const expected = IDS.filter((id) => id.startsWith(prefix)).sort(asBytes);
    t.strictSame(await ledger.idsLike(prefix, 1_000), expected, `begins with ${JSON.stringify(prefix)}`);
    const listed = await ledger.list({ idPrefix: prefix }, { limit: 500 }, NOW);
    t.strictSame(listed.jobs.map(({ id }) => id).sort(asBytes), expected, 'the same in a list');
  }
  t.strictSame(await ledger.idsLike('', 3), [...IDS].sort(asBytes).slice(0, 3), 'all');
}

for (const engine of [...engines, ...(findPostgres() === undefined ? [] : [inEnglish])])
  t.test(`${engine.name}: jobs by the beginning of their id`, async (t) => {
    const opened = await engine.open(t);
    await opened.ledger.add(
      IDS.map((id) => ({ id, data: null })),
      NOW,
    );
    await checkPrefixes(t, opened);
    const { driver } = opened;
    if (driver.byteOrder === undefined) return;
    await driver.transaction(async (sql) => {
      await sql.run('SET LOCAL enable_seqscan = off');
      const plan = await sql.all<{ 'QUERY PLAN': string }>('EXPLAIN SELECT id FROM job WHERE id >= ? AND id < ? ORDER BY id LIMIT ?', [
        'a',
        'b',
        9,
      ]);
      const text = plan.map((row) => row['QUERY PLAN']).join('\n');
      t.match(text, /Index Cond:.*id >= /, 'by the index');
      t.notMatch(text, /Sort/);
    });
    // As earlier versions created it. Only this migration is run again, not the later ones.
    await driver.exec('ALTER TABLE job ALTER COLUMN id TYPE TEXT COLLATE "default"');
    await driver.exec(schema0005(driver));
    await checkPrefixes(t, opened);
  });
