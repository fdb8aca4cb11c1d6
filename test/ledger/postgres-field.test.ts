import t from 'tap';
import { systemClock } from '../../src/clock.js';
import type { Ledger } from '../../src/ledger/ledger.js';
import { openLedger } from '../../src/ledger/open.js';
import { LabPgbouncer, pgbouncerTools } from '../lab/pgbouncer.js';
import { findPostgres, LabPostgres } from '../lab/postgres.js';
import { requireThat, requireTools } from '../lab/require.js';
import { ann, claim, completed } from './verbs.js';

const JOBS = 300;
const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

if (requireThat(t, findPostgres() !== undefined, 'postgres missing: apt-get install postgresql')) {
  t.test('behind pgbouncer in transaction mode', async (t) => {
    if (!requireTools(t, pgbouncerTools)) return;
    const lab = await LabPostgres.start();
    t.teardown(() => lab.close());
    const pooler = await LabPgbouncer.start(lab);
    t.teardown(() => pooler.close());
    const direct = await lab.createDatabase();
    const url = lab.urlOf(direct.slice(direct.lastIndexOf('/') + 1), pooler.port);
    const ledgers = await Promise.all([1, 2, 3].map(() => openLedger(url, { clock: systemClock })));
    t.teardown(() => Promise.all(ledgers.map((ledger) => ledger.close())));
    const now = () => systemClock.now();

    await t.test('several Masters do all jobs, each once', async (t) => {
      await Promise.all(
        ledgers.map((ledger, index) =>
          ledger.add(
            Array.from({ length: JOBS / ledgers.length }, (_, number) => ({ id: `${index}-${number}`, data: number })),
            now(),
          ),
        ),
      );
      const work = async (ledger: Ledger, index: number) => {
        const worker = { id: `w${index}`, name: 'w' };
        const done: string[] = [];
        for (;;) {
          const runs = await claim(ledger, { worker, limit: 7, now: now() });
          if (runs.length === 0) return done;
          await ledger.extend(worker, runs, now() + 30_000, now());
          t.strictSame(
            new Set(
              await ledger.settle(
                worker,
                runs.map((run) => completed(run, index)),
                now(),
              ),
            ),
            new Set(['settled']),
          );
          await ledger.maintain(now());
          done.push(...runs.map(({ id }) => id));
        }
      };
      const done = (await Promise.all(ledgers.map(work))).flat();
      t.equal(done.length, JOBS);
      t.equal(new Set(done).size, JOBS);
      t.equal((await (ledgers[0] as Ledger).settledAfter(0, 1_000)).length >= 100, true);
    });

    await t.test('they find by looking what others did, and hear it at the address of the database', async (t) => {
      const listening = await openLedger(url, { listenUrl: direct });
      t.teardown(() => listening.close());
      const looked = new Promise((resolve) => (ledgers[1] as Ledger).watch((change) => !change.own && change.ready && resolve(true)));
      t.ok(await looked);
      const heard = new Promise((resolve) =>
        listening.watch(({ own, jobs }) => !own && jobs.some(({ id }) => id === 'told') && resolve(true)),
      );
      await (ledgers[0] as Ledger).add([{ id: 'told', data: 1 }], now());
      t.ok(await heard, 'one behind the pooler tells, one that listens hears');
    });

    await t.test('nothing of ours stays in the sessions', async (t) => {
      const rows = await lab.query("SELECT pid, query FROM pg_stat_activity WHERE datname <> 'postgres' AND state = 'idle'");
      t.ok(rows.length > 0);
      t.strictSame(await lab.query("SELECT * FROM pg_locks WHERE locktype = 'advisory'"), [], 'no locks');
      const session = await lab.query('SHOW enable_seqscan', url.slice(url.lastIndexOf('/') + 1));
      t.match(session, [{ enable_seqscan: 'on' }]);
    });
  });

  t.test('a failover: the server is gone, a replica answers that only reads, and is promoted', async (t) => {
    const lab = await LabPostgres.start();
    t.teardown(() => lab.close());
    const url = await lab.createDatabase();
    const ledger = await openLedger(url, { clock: systemClock });
    t.teardown(() => ledger.close());
    const now = () => systemClock.now();
    await ledger.add(
      Array.from({ length: 50 }, (_, number) => ({ id: `${number}`, data: number })),
      now(),
    );
    const runs = await claim(ledger, { limit: 10, now: now() });
    const refusals = new Set<string>();
    let failing = true;
    const calls = (async () => {
      for (let call = 0; failing; call += 1) {
        await ledger
          .add([{ id: `meanwhile ${call}`, data: 1 }], now())
          .catch((error: { code?: string }) => refusals.add(String(error.code)));
        await wait(20);
      }
    })();
    await lab.failOver();
    await t.rejects(openLedger(url), { code: 'ledger-read-only' }, 'nobody begins on a replica');
    await wait(500);
    await lab.promote();
    for (;;) {
      const back = await ledger.counts().catch(() => undefined);
      if (back !== undefined) break;
      await wait(50);
    }
    failing = false;
    await calls;
    t.strictSame([...refusals], ['ledger-away'], 'who calls meanwhile is told that it is away, and nothing else');
    for (let settled = false; !settled; await wait(50))
      settled = await ledger
        .settle(
          ann,
          runs.map((run) => completed(run)),
          now(),
        )
        .then(
          (answers) => t.ok(answers.every((answer) => answer === 'settled' || answer === 'duplicate')),
          () => false,
        );
    t.match(await ledger.counts(), { completed: 10 });
    t.ok(((await ledger.counts()).ready ?? 0) >= 40, 'no job is lost');
  });

  t.test('a database that cannot hold every text is refused', async (t) => {
    const lab = await LabPostgres.start();
    t.teardown(() => lab.close());
    for (const encoding of ['LATIN1', 'SQL_ASCII'])
      await t.rejects(openLedger(await lab.createDatabase(encoding)), { code: 'ledger-encoding', message: new RegExp(encoding) });
    // Follow the hint.
    await lab.query("CREATE DATABASE remedy ENCODING 'UTF8' TEMPLATE template0 LOCALE 'C'");
    const ledger = await openLedger(lab.urlOf('remedy'));
    await ledger.add([{ id: '🙂', data: '🙂' }], 1_000);
    t.match(await ledger.get('🙂'), { data: '🙂' });
    await ledger.close();
  });

  t.test('a server that is too old is refused', async (t) => {
    const lab = await LabPostgres.start();
    t.teardown(() => lab.close());
    const url = await lab.createDatabase();
    const name = url.slice(url.lastIndexOf('/') + 1);
    const inside = (sql: string) => lab.query(sql, name);
    // It reports a different server version; everything else is unchanged.
    await inside('CREATE SCHEMA old');
    await inside(
      "CREATE FUNCTION old.current_setting(name text) RETURNS text LANGUAGE sql AS $$ SELECT CASE name WHEN 'server_version_num' THEN '110022' ELSE pg_catalog.current_setting(name) END $$",
    );
    await lab.query(`ALTER DATABASE ${name} SET search_path = old, pg_catalog, public`);
    await t.rejects(openLedger(url), { code: 'ledger-server-old', message: /11/ });
    await lab.query(`ALTER DATABASE ${name} RESET search_path`);
    await (await openLedger(url)).close();
  });

  t.test('an open ledger goes on when a newer Master changes what its columns are', async (t) => {
    const lab = await LabPostgres.start();
    t.teardown(() => lab.close());
    const url = await lab.createDatabase();
    const ledger = await openLedger(url, { clock: systemClock });
    t.teardown(() => ledger.close());
    const now = () => systemClock.now();
    // Each statement gets prepared.
    const add = (id: string) => ledger.add([{ id, data: 1 }], now());
    const work = async () => {
      const [run] = await claim(ledger, { now: now() });
      if (run !== undefined) return ledger.settle(ann, [completed(run, 1)], now());
    };
    await add('before');
    t.strictSame(await work(), ['settled']);
    t.match(await ledger.get('before'), { state: 'completed' });
    await lab.query('ALTER TABLE job ALTER COLUMN id TYPE TEXT COLLATE "POSIX"', url.slice(url.lastIndexOf('/') + 1));
    t.match(await ledger.get('before'), { state: 'completed' });
    await add('after');
    t.strictSame(await work(), ['settled']);
  });

  t.test('one ledger, one key', async (t) => {
    const lab = await LabPostgres.start();
    t.teardown(() => lab.close());
    const url = await lab.createDatabase();
    const open = (owner: string) => openLedger(url, { clock: systemClock, owner });
    const one = await open('key-one');
    await t.rejects(open('key-two'), { code: 'ledger-key', message: /key-one/ });
    await (await open('key-one')).close();
    await one.close();
    await t.rejects(open('key-two'), { code: 'ledger-key' }, 'others of that key may be at work');
    await lab.query(
      "UPDATE note SET value = regexp_replace(value, ' (\\d+) ', ' 1700000000000 ') WHERE name = 'time'",
      url.slice(url.lastIndexOf('/') + 1),
    );
    const two = await open('key-two');
    t.teardown(() => two.close());
    await t.rejects(open('key-one'), { code: 'ledger-key', message: /key-two/ });
  });
}
