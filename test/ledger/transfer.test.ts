import t from 'tap';
import type { Driver } from '../../src/ledger/driver.js';
import { Ledger } from '../../src/ledger/ledger.js';
import { migrate, SCHEMA_VERSION } from '../../src/ledger/migrate.js';
import { SqliteDriver } from '../../src/ledger/sqlite.js';
import { exportLines, importLines } from '../../src/ledger/transfer.js';
import { engines, expire } from './engines.js';
import { ann, ben, claim, claimIds, claimOne, completed, failed, LEASE_MS, NOW, said } from './verbs.js';

async function* each<T>(list: readonly T[]): AsyncGenerator<T, void, undefined> {
  yield* list;
}

async function linesOf(driver: Driver): Promise<string[]> {
  const lines: string[] = [];
  for await (const line of exportLines(driver)) lines.push(line);
  return lines;
}

async function emptyDriver(): Promise<SqliteDriver> {
  const driver = new SqliteDriver(':memory:');
  await migrate(driver);
  return driver;
}

async function fill(ledger: Ledger): Promise<void> {
  await ledger.add(
    [
      { id: 'p', data: { n: 1 }, group: 'g', weight: 3 },
      { id: 'c', data: 2, parents: ['p', 'run'], group: 'g', meta: [1] },
      { id: 'failed', data: 3, key: 'k', requires: ['gpu'], attempts: 2, backoffMs: 0 },
      { id: 'run', data: 4, workgroup: 'w' },
      ...Array.from({ length: 1_200 }, (_, at) => ({ id: `many-${at}`, data: at, channel: 'many' })),
    ],
    NOW,
  );
  const jobs = await claim(ledger, { labels: ['gpu'] });
  for (const job of jobs) {
    if (job.id === 'p') await ledger.settle(ann, [completed(job, 'out')], NOW);
    if (job.id === 'failed') await ledger.settle(ann, [failed(job)], NOW);
  }
  await ledger.holdWorkgroup('w', NOW + 5, NOW);
  await ledger.putSchedule({ id: 's', cron: '0 0 1 1 *', job: { data: 1 } }, NOW);
  await ledger.markWorker(ben, { approved: true }, NOW);
  await ledger.remember('note', 'kept');
}

for (const engine of engines)
  t.test(`from a file to ${engine.name}: all is there, and goes on`, async (t) => {
    const source = await emptyDriver();
    const from = new Ledger(source, { random: () => 0 }, 0);
    await fill(from);
    const counts = await from.counts();
    const settled = await from.settledAfter(0, 10);
    const lines = await linesOf(source);
    await from.close();

    const { ledger: to, driver } = await engine.open(t, () => 0);
    t.match(await importLines(driver, each(lines)), { job: 1_204, edge: 2, grp: 1, schedule: 1 });
    t.strictSame(await to.counts(), counts);
    t.strictSame(await to.settledAfter(0, 10), settled, 'cursors are kept');
    t.match(await to.getGroup('g'), { progress: 0.75, counts: { completed: 1, blocked: 1 } });
    t.match(await to.get('c'), { parents: ['p', 'run'], meta: [1] });
    t.match(await to.history('failed', 0, 9), [{ kind: 'error' }]);
    t.equal(await to.recall('note'), 'kept');
    t.match(await to.getWorker(ben.id), { approvedAt: NOW });
    t.strictSame(await to.settle(ann, [completed({ id: 'run', lease: 1 }, 1)], NOW + 1), ['settled'], 'who had a lease may settle');
    t.equal(await claimIds(to, { now: NOW + 10 }), 'c');
    await to.add([{ id: 'new', data: 1 }], NOW);
    const run = await claimOne(to, { now: NOW + 10, labels: ['gpu'] });
    t.equal(run.id, 'failed');
    t.equal((await to.settledAfter(settled.at(-1)?.cursor ?? 0, 10)).length, 1, 'new settlements come after the old ones');
    await expire(to, NOW + 10 + LEASE_MS);
    const rows = await driver.all<{ n: number }>('SELECT COUNT(*) AS n FROM job');
    t.strictSame(rows, [{ n: 1_205 }]);
  });

for (const source of engines)
  for (const target of engines)
    t.test(`from ${source.name} to ${target.name}: no number is drawn again for what is no longer there`, async (t) => {
      const { ledger: from, driver } = await source.open(t, () => 0);
      await from.add(
        ['a', 'b', 'c', 'd'].map((id) => ({ id, data: 1 })),
        NOW,
      );
      for (const job of await claim(from)) {
        await from.record(ann, [{ id: job.id, lease: job.lease, progress: said('hello') }], NOW);
        await from.settle(ann, [failed(job, { retry: false })], NOW);
      }
      const cursor = (await from.settledAfter(0, 10)).at(-1)?.cursor ?? 0;
      const lastLine = (await from.history('d', 0, 10)).at(-1)?.seq ?? 0;
      t.ok(cursor > 0 && lastLine > 0);
      const seqs = await driver.all<{ seq: number }>('SELECT MAX(seq) AS seq FROM job');
      t.match(await from.retry(['b'], NOW), ['b']);
      await from.delete(['c', 'd'], NOW);
      const lines = await linesOf(driver);

      const { ledger: to, driver: into } = await target.open(t, () => 0);
      await importLines(into, each(lines));
      t.strictSame(await to.settledAfter(cursor, 10), []);
      const job = await claimOne(to);
      await to.record(ann, [{ id: job.id, lease: job.lease, progress: said('again') }], NOW);
      await to.settle(ann, [completed(job)], NOW);
      t.match(
        (await to.settledAfter(cursor, 10)).map(({ job }) => job.id),
        ['b'],
        'a reader goes on where it was',
      );
      t.ok(((await to.history('b', 0, 10)).at(-1)?.seq ?? 0) > lastLine);
      await to.add([{ id: 'new', data: 1 }], NOW);
      const [added] = await into.all<{ seq: number }>("SELECT seq FROM job WHERE id = 'new'");
      t.ok((added?.seq ?? 0) > (seqs[0]?.seq ?? 0));
    });

t.test('what cannot be imported leaves nothing behind', async (t) => {
  const source = await emptyDriver();
  const from = new Ledger(source, {}, 0);
  await fill(from);
  const lines = await linesOf(source);
  await from.close();
  const to = await emptyDriver();
  t.teardown(() => to.close());
  const cut = lines.slice(0, -1);
  for (const [bad, detail] of [
    [[], /cut off/],
    [cut, /cut off/],
    [[...cut.slice(0, -40), lines.at(-1) ?? ''], /announced/],
    [['{"format":"other"}'], /line 1/],
    [[(lines[0] ?? '').replace(`"schema":${SCHEMA_VERSION}`, '"schema":99'), ...lines.slice(1)], /line 1: its schema is 99/],
    [[lines[0] ?? '', 'nonsense'], /line 2/],
    [[lines[0] ?? '', '{"table":"job","columns":["seq"]}'], /line 2/],
    [[lines[0] ?? '', lines[1] ?? '', '[1,true,"x"]'], /line 3/],
    [[...lines, '[]'], /after the end/],
  ] as const)
    await t.rejects(importLines(to, each(bad)), { code: 'export-invalid', detail });
  t.strictSame(await to.all('SELECT COUNT(*) AS n FROM job'), [{ n: 0 }]);
  await importLines(to, each(lines));
  await t.rejects(importLines(to, each(lines)), { code: 'ledger-not-empty' });
});

t.test('an older ledger is brought up to date with its jobs', async (t) => {
  const { schema0001 } = await import('../../src/ledger/schema/0001.js');
  const driver = new SqliteDriver(':memory:');
  await driver.exec(`CREATE TABLE migration (version INTEGER PRIMARY KEY); INSERT INTO migration (version) VALUES (1); ${schema0001}`);
  await driver.exec(`UPDATE counter SET value = 3 WHERE name = 'job'; INSERT INTO tally (channel, state, jobs) VALUES ('default', 'ready', 2), ('x', 'ready', 1);
    INSERT INTO job (seq, id, channel, state, priority, attempts_allowed, backoff_ms, created_at, data) VALUES
    (1, 'a', 'default', 'ready', 0, 3, 1000, 1, '1'), (2, 'b', 'default', 'ready', 5, 3, 1000, 1, '2'), (3, 'c', 'x', 'ready', 0, 3, 1000, 1, '3')`);
  await migrate(driver);
  const ledger = new Ledger(driver, {}, 0);
  t.teardown(() => ledger.close());
  t.match(await ledger.counts(), { ready: 3 });
  await ledger.add([{ id: 'd', data: 4 }], NOW);
  t.equal(await claimIds(ledger), 'b a d');
  t.equal(await claimIds(ledger, { channels: ['x'] }), 'c');
});
