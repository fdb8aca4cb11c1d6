import t from 'tap';
import type { Driver, Statements } from '../../src/ledger/driver.js';
import { GroupCommit } from '../../src/ledger/group-commit.js';
import { SqliteDriver } from '../../src/ledger/sqlite.js';

/** Counts transactions, and can make a commit fail. */
class CountingDriver implements Driver {
  readonly inner = new SqliteDriver(':memory:');
  begun = 0;
  committed = 0;
  failCommit = false;

  async transaction<T>(work: (sql: Statements) => Promise<T>): Promise<T> {
    this.begun += 1;
    const result = await this.inner.transaction(async (sql) => {
      const answer = await work(sql);
      if (this.failCommit) throw new Error('commit failed');
      return answer;
    });
    this.committed += 1;
    return result;
  }

  all<Row>(sql: string, values?: readonly (string | number | null)[]): Promise<Row[]> {
    return this.inner.all<Row>(sql, values);
  }
  run(sql: string, values?: readonly (string | number | null)[]): Promise<number> {
    return this.inner.run(sql, values);
  }
  exec(script: string): Promise<void> {
    return this.inner.exec(script);
  }
  close(): Promise<void> {
    return this.inner.close();
  }
}

async function setUp() {
  const driver = new CountingDriver();
  t.teardown(() => driver.close());
  await driver.exec('CREATE TABLE x (a INTEGER PRIMARY KEY)');
  let rollbacks = 0;
  const commits = new GroupCommit(driver, {
    onRollback: () => {
      rollbacks += 1;
    },
  });
  const insert = (a: number, weight = 1) => commits.run(weight, (sql) => sql.run('INSERT INTO x (a) VALUES (?)', [a]));
  const stored = async () => (await driver.all<{ a: number }>('SELECT a FROM x ORDER BY a')).map((row) => row.a);
  return { driver, commits, insert, stored, rollbacks: () => rollbacks };
}

t.test('one turn is one transaction, and promises resolve after its commit', async (t) => {
  const { driver, insert, stored } = await setUp();
  const answers = await Promise.all([1, 2, 3].map((a) => insert(a).then(() => driver.committed)));
  t.strictSame(answers, [1, 1, 1]);
  t.equal(driver.begun, 1);
  t.strictSame(await stored(), [1, 2, 3]);
  await insert(4);
  t.equal(driver.begun, 2);
});

t.test('callbacks of one turn of I/O share one too', async (t) => {
  const { driver, insert } = await setUp();
  const done: Promise<unknown>[] = [];
  await new Promise<void>((resolve) => {
    for (let a = 0; a < 10; a += 1) setTimeout(() => done.push(insert(a)), 0);
    setTimeout(resolve, 0);
    // Wait until all of them are due: if the clock ticks in between, it becomes two turns.
    const due = Date.now() + 5;
    while (Date.now() < due);
  });
  await Promise.all(done);
  t.equal(driver.begun, 1);
});

t.test('a batch takes at most 500 jobs, but always one operation', async (t) => {
  const { driver, insert } = await setUp();
  await Promise.all([insert(1, 300), insert(2, 200), insert(3, 1), insert(4, 9_000), insert(5, 1)]);
  t.equal(driver.begun, 4);
});

t.test('an operation that throws fails alone, the others are done once', async (t) => {
  const { commits, insert, stored, rollbacks } = await setUp();
  const answers = await Promise.allSettled([
    insert(1),
    insert(1),
    commits.run(1, () => Promise.reject(new Error('mine'))),
    insert(2),
    commits.run(1, () => {
      throw new Error('thrown');
    }),
  ]);
  t.strictSame(
    answers.map((answer) => answer.status),
    ['fulfilled', 'rejected', 'rejected', 'fulfilled', 'rejected'],
  );
  t.strictSame(await stored(), [1, 2]);
  t.equal(rollbacks(), 4, 'the batch, and the three that failed');
  t.equal(await insert(3), 1, 'and it goes on');
});

t.test('a commit that fails fails its whole batch and is not repeated', async (t) => {
  const { driver, commits, insert } = await setUp();
  let worked = 0;
  const count = () =>
    commits.run(1, async () => {
      worked += 1;
    });
  driver.failCommit = true;
  const answers = await Promise.allSettled([count(), count()]);
  t.ok(answers.every((answer) => answer.status === 'rejected'));
  t.equal(worked, 2);
  driver.failCommit = false;
  t.equal(await insert(1), 1);
});

t.test('closing finishes what was asked for and refuses the rest', async (t) => {
  const { commits, insert, stored } = await setUp();
  const before = insert(1);
  const closing = commits.close();
  await t.rejects(insert(2), { code: 'closed' });
  await closing;
  t.strictSame(await stored(), [1]);
  await before;
});
