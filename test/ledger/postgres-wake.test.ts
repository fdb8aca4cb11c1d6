import t from 'tap';
import type { LedgerChange } from '../../src/ledger/ledger.js';
import { openLedger } from '../../src/ledger/open.js';
import { payloads, readPayload } from '../../src/ledger/postgres-wake.js';
import { findPostgres } from '../lab/postgres.js';
import { requireThat } from '../lab/require.js';
import { until } from '../lab/until.js';
import { emptyDatabase, labPostgres } from './engines.js';

const NOW = 1_700_000_000_000;
const anna = { id: 'key-a', name: 'anna' };

t.test('one message holds fewer than 8,000 bytes, and what does not fit goes into more', async (t) => {
  const cancelled = Array.from({ length: 500 }, (_, at) => ({ id: `job-${at}-ü`, running: { workerId: 'w'.repeat(43), lease: at } }));
  const texts = payloads({ jobs: [], cut: false, ready: true, settled: false, cancelled, rows: [] });
  t.ok(texts.length > 1);
  t.ok(texts.every((text) => Buffer.byteLength(text) < 8_000));
  t.strictSame(
    texts.flatMap((text) => readPayload(text).cancelled),
    cancelled,
    'all are told, in order',
  );
});

t.test('what cannot be read may be anything', async (t) => {
  for (const text of ['', 'null', '{', '{"ready":true}', '[]'])
    t.match(readPayload(text), { cut: true, ready: true, settled: true, cancelled: [] }, text);
});

t.test('what one Master does on Postgres, the other hears', async (t) => {
  if (!requireThat(t, findPostgres() !== undefined, 'postgres missing: apt-get install postgresql')) return;
  const lab = await labPostgres();
  const url = await emptyDatabase();
  const [one, two] = await Promise.all([openLedger(url), openLedger(url)]);
  t.teardown(() => Promise.all([one.close(), two.close()]));
  const own: LedgerChange[] = [];
  const heard: LedgerChange[] = [];
  one.watch((change) => own.push(change));
  two.watch((change) => heard.push(change));

  await one.add(
    [
      { id: 'a', data: 1 },
      { id: 'b', data: 2 },
    ],
    NOW,
  );
  await until(() => heard.some(({ ready }) => ready), 5);
  const jobs = await two.claim({ worker: anna, channels: ['default'], limit: 2, until: NOW + 1_000 }, NOW);
  t.equal(jobs.length, 2);
  t.notOk(heard.some(({ settled }) => settled));
  await one.cancel(['a'], NOW);
  await until(() => heard.some(({ cancelled }) => cancelled.length > 0), 5);
  t.match(heard.at(-1), { settled: true, cancelled: [{ id: 'a', running: { workerId: 'key-a', lease: 1 } }] });
  t.ok(
    own.length > 0 && own.filter(({ own }) => !own).every(({ jobs }) => jobs.every(({ state }) => state === 'leased')),
    'nobody hears from others what he did himself',
  );
  t.match(heard.at(-1), { own: false, jobs: [{ id: 'a', channel: 'default', state: 'cancelled' }] });

  heard.length = 0;
  await lab.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'peerwork wake'");
  await until(() => heard.some(({ cut }) => cut), 5);
  t.pass('whoever may have missed something is told that anything may be');
});

t.test('a value that several Masters propose: all get the one that came first', async (t) => {
  if (!requireThat(t, findPostgres() !== undefined, 'postgres missing: apt-get install postgresql')) return;
  const url = await emptyDatabase();
  const ledgers = await Promise.all([openLedger(url), openLedger(url), openLedger(url)]);
  const answers = await Promise.all(ledgers.map((ledger, at) => ledger.agree('task', `version ${at}`)));
  t.equal(new Set(answers).size, 1);
  await Promise.all(ledgers.map((ledger) => ledger.close()));
});

t.test('a value that several Masters replace: one of them succeeds, the others learn that it has changed', async (t) => {
  if (!requireThat(t, findPostgres() !== undefined, 'postgres missing: apt-get install postgresql')) return;
  const url = await emptyDatabase();
  const ledgers = await Promise.all([openLedger(url), openLedger(url), openLedger(url)]);
  for (const before of [undefined, 'first']) {
    if (before !== undefined) await ledgers[0].remember('list', before);
    const replaced = await Promise.all(ledgers.map((ledger, at) => ledger.replace('list', before, `version ${at}`)));
    t.equal(replaced.filter((done) => done).length, 1);
    t.equal(await ledgers[0].recall('list'), `version ${replaced.indexOf(true)}`);
  }
  await Promise.all(ledgers.map((ledger) => ledger.close()));
});
