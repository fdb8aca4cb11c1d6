import t from 'tap';
import { packed } from '../../src/ledger/packed.js';
import { SqliteDriver } from '../../src/ledger/sqlite.js';

t.test('packed columns are those of the statement as it was written', async (t) => {
  const driver = new SqliteDriver(':memory:');
  t.teardown(() => driver.close());
  await driver.exec('CREATE TABLE a (seq INTEGER PRIMARY KEY, name TEXT, b INTEGER); CREATE TABLE o (seq INTEGER, title TEXT)');
  const names = ['', 'plain', '"quoted", [1]\\ \n\t\u2028', 'Grüße 🦔', null];
  for (const [seq, name] of names.entries())
    await driver.run('INSERT INTO a (seq, name, b) VALUES (?, ?, ?)', [seq, name, 2 ** 53 - 1 - seq]);
  await driver.run('INSERT INTO o (seq, title) VALUES (?, ?)', [1, 'boss']);
  const columns = 'a.seq, a.name, b, o.title AS title_of';
  const from = 'FROM a LEFT JOIN o ON o.seq = a.seq ORDER BY a.seq DESC';
  const plain = await driver.all<object>(`SELECT ${columns}, a.b AS again ${from}`);
  t.same(await driver.all(`SELECT ${packed(columns)}, a.b AS again ${from}`), plain);
  t.equal(plain.length, names.length);
  t.match(plain[3], { seq: 1, name: 'plain', b: 2 ** 53 - 2, title_of: 'boss' });
});
