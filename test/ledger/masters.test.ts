import t from 'tap';
import type { Settlement } from '../../src/job/verbs.js';
import type { Ledger } from '../../src/ledger/ledger.js';
import { openLedger } from '../../src/ledger/open.js';
import { findPostgres } from '../lab/postgres.js';
import { requireThat } from '../lab/require.js';
import { emptyDatabase, labPostgres } from './engines.js';

const NOW = 1_700_000_000_000;
const JOBS = 4_000;
const KILLS = 8;
const worker = (index: number) => ({ id: `key-${index}`, name: `worker ${index}` });
const wait = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Retries while the database is unreachable; any other error is thrown. */
async function whileAway<T>(action: () => Promise<T>): Promise<T> {
  for (let tries = 0; ; tries += 1) {
    try {
      return await action();
    } catch (error) {
      if ((error as { code?: unknown }).code !== 'ledger-away' || tries > 1_000) throw error;
      await wait(10);
    }
  }
}

/** Claims and settles until nothing is left; returns the ids of the claimed jobs. */
async function workThrough(ledger: Ledger, index: number): Promise<string[]> {
  const ids: string[] = [];
  for (;;) {
    const claim = { worker: worker(index), channels: ['default'], limit: 7, until: NOW + 30_000 };
    const jobs = await whileAway(() => ledger.claim(claim, NOW));
    if (jobs.length === 0) return ids;
    ids.push(...jobs.map((job) => job.id));
    const settlements = jobs.map(
      ({ id, lease }): Settlement => ({ id, lease, outcome: { state: 'completed', output: index }, startedAt: NOW, finishedAt: NOW }),
    );
    await whileAway(() => ledger.settle(worker(index), settlements, NOW));
  }
}

t.test('several Masters on one Postgres', async (t) => {
  if (!requireThat(t, findPostgres() !== undefined, 'postgres missing: apt-get install postgresql')) return;
  const lab = await labPostgres();
  const url = await emptyDatabase();
  // All at once: only one of them may migrate.
  const ledgers = await Promise.all(Array.from({ length: 4 }, () => openLedger(url)));
  t.teardown(() => Promise.all(ledgers.map((ledger) => ledger.close())));
  const [first] = ledgers as [Ledger, ...Ledger[]];

  await t.test('every job runs once and the cursor passes none, while connections are killed', async (t) => {
    await Promise.all(
      ledgers.map((ledger, index) =>
        ledger.add(
          Array.from({ length: JOBS / ledgers.length }, (_, number) => ({ id: `${index}-${number}`, data: number })),
          NOW,
        ),
      ),
    );
    let isDone = false;
    const reading = (async () => {
      const seen: string[] = [];
      for (let cursor = 0, wasDone = false; ; ) {
        const page = await whileAway(() => first.settledAfter(cursor, 500));
        for (const entry of page) {
          cursor = entry.cursor;
          seen.push(entry.job.id);
        }
        if (wasDone && page.length === 0) return seen;
        wasDone = isDone;
        await wait(1);
      }
    })();
    const killing = (async () => {
      for (let kill = 0; kill < KILLS; kill += 1) {
        await wait(60);
        const victim = "SELECT pid FROM pg_stat_activity WHERE application_name = 'peerwork' ORDER BY random() LIMIT 1";
        await lab.query(`SELECT pg_terminate_backend(pid) FROM (${victim}) AS victim`);
      }
    })();
    const claimed = (await Promise.all(ledgers.map(workThrough))).flat();
    await killing;
    isDone = true;
    const seen = await reading;
    t.equal(new Set(claimed).size, claimed.length, 'no job was leased twice');
    t.equal(new Set(seen).size, seen.length, 'no settlement was told twice');
    // A claim whose commit was not acknowledged may have leased a job; that lease expires.
    const counts = await whileAway(() => first.counts());
    t.equal(counts.completed, seen.length, 'and none was passed over');
    t.equal(counts.completed + counts.leased, JOBS);
  });

  await t.test('a server that goes away is told at once, and nothing is lost when it returns', async (t) => {
    const before = await whileAway(() => first.counts());
    await lab.stop('immediate');
    await t.rejects(first.counts(), { code: 'ledger-away' });
    await t.rejects(first.add([{ data: null }], NOW), { code: 'ledger-away' });
    await lab.startAgain();
    t.strictSame(await whileAway(() => first.counts()), before);
  });
});
