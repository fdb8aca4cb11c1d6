import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Clock } from '../../src/clock.js';
import { TIMEOUT_GRACE_MS } from '../../src/job/limits.js';
import type { Ledger } from '../../src/ledger/ledger.js';
import { openLedger } from '../../src/ledger/open.js';
import { findPostgres } from '../lab/postgres.js';
import { emptyDatabase, labPostgres, temporaryFolder } from './engines.js';
import { ann, ben, claim, claimOne, completed, failed, LEASE_MS } from './verbs.js';

const HOUR = 3_600_000;
const START = Date.parse('2026-03-01T10:07:00Z');

/** A machine or database whose clock can be set, and the steady time of a process that does not notice. */
interface TimeLab {
  readonly url: string;
  /** What the clock shows. */
  wall(): number;
  /** Lets time pass. */
  pass(ms: number): Promise<void>;
  /** Sets the clock. */
  set(byMs: number): Promise<void>;
  /** The clock of another process, whose steady time differs from this one's by `apartMs`. */
  clockOf(apartMs?: number): Pick<Clock, 'now' | 'wall'>;
}

async function openLab(t: Test, engine: string): Promise<TimeLab> {
  let steady = START;
  let offset = 0;
  const wall = () => steady + offset;
  const postgres = engine === 'postgres';
  const url = postgres ? await emptyDatabase() : `sqlite:${join(temporaryFolder(t), 'ledger.db')}`;
  const setDatabaseClock = async () => {
    if (postgres) await (await labPostgres()).query(`UPDATE fake_clock SET ms = ${wall()}`, databaseOf(url));
  };
  if (postgres) await fakeClock(url, wall());
  return {
    url,
    wall,
    async pass(ms) {
      steady += ms;
      await setDatabaseClock();
    },
    async set(byMs) {
      offset += byMs;
      await setDatabaseClock();
    },
    // With Postgres the machine's clock does not matter.
    clockOf: (apartMs = 0) => ({ now: () => steady + apartMs, wall: () => (postgres ? steady - 77 * HOUR : wall()) }),
  };
}

const databaseOf = (url: string) => url.slice(url.lastIndexOf('/') + 1);

/** The database resolves `clock_timestamp` to this function before its own. */
async function fakeClock(url: string, ms: number): Promise<void> {
  const lab = await labPostgres();
  await lab.query(
    `CREATE TABLE fake_clock (ms BIGINT); INSERT INTO fake_clock VALUES (${ms});
    CREATE FUNCTION clock_timestamp() RETURNS TIMESTAMPTZ LANGUAGE SQL AS 'SELECT to_timestamp(ms / 1000.0) FROM public.fake_clock';
    ALTER DATABASE ${databaseOf(url)} SET search_path = public, pg_catalog`,
    databaseOf(url),
  );
}

for (const engine of ['sqlite', ...(findPostgres() === undefined ? [] : ['postgres'])]) {
  const test = (name: string, body: (t: Test, lab: TimeLab) => Promise<void>) =>
    t.test(`${engine}: ${name}`, async (t) => body(t, await openLab(t, engine)));
  const open = async (t: Test, lab: TimeLab, apartMs = 0) => {
    const clock = lab.clockOf(apartMs);
    const ledger = await openLedger(lab.url, { clock, random: () => 0 });
    t.teardown(() => ledger.close());
    return { ledger, now: clock.now };
  };

  for (const [way, byMs] of [
    ['ahead', HOUR],
    ['back', -HOUR],
    ['back by years', -30 * 365 * 24 * HOUR],
  ] as const)
    test(`the clock is set ${way}: durations keep what is left of them, instants follow it`, async (t, lab) => {
      const { ledger, now } = await open(t, lab);
      const seen = async (id: string) => ledger.get(id, now());
      await ledger.add(
        [
          { id: 'leased', data: 1, attempts: 3 },
          { id: 'limited', data: 1, timeoutMs: 20_000, attempts: 3, backoffMs: 40_000, backoff: 'fixed' },
          { id: 'failing', data: 1, attempts: 3, backoffMs: 40_000, backoff: 'fixed' },
          { id: 'done', data: 1 },
        ],
        now(),
      );
      const runs = await claim(ledger, { now: now() });
      await ledger.settle(ann, [failed(runs[2] as never)], now());
      const runAt = lab.wall() + 2 * HOUR;
      await ledger.add(
        [
          { id: 'delayed', data: 1, delayMs: 40_000 },
          { id: 'child', data: 1, delayMs: 40_000, parents: ['leased'] },
          { id: 'dated', data: 1, runAt },
          { id: 'held', data: 1, workgroup: 'held' },
          { id: 'rated 1', data: 1, workgroup: 'rated', channel: 'rated' },
          { id: 'rated 2', data: 1, workgroup: 'rated', channel: 'rated' },
        ],
        now(),
      );
      await ledger.holdWorkgroup('held', now() + 40_000, now());
      await ledger.putWorkgroup({ id: 'rated', rate: 1, periodMs: 40_000 }, now());
      t.equal((await claim(ledger, { now: now(), channels: ['rated'] })).length, 1);
      t.strictSame(await claim(ledger, { now: now() }), []);
      await lab.pass(10_000);
      await ledger.maintain(now());

      await lab.set(byMs);
      const done = runs[3] as never;
      t.strictSame(await ledger.settle(ann, [{ ...completed(done), startedAt: now() - 5_000, finishedAt: now() }], now()), ['settled']);
      const { nextAt } = await ledger.maintain(now());
      t.equal(nextAt, START + LEASE_MS, 'the next end of a lease, in the time of the Master that asks');
      t.match(await seen('leased'), { leaseUntil: lab.wall() + 20_000, startedAt: lab.wall() - 10_000 });
      t.match(await seen('delayed'), { runAt: lab.wall() + 30_000, waiting: 'delayed' });
      t.match(await seen('child'), { runAt: lab.wall() + 30_000 });
      t.match(await seen('failing'), { runAt: lab.wall() + 30_000 });
      t.match(await seen('dated'), { runAt, waiting: 'delayed' });
      t.match(await ledger.getWorkgroup('held'), { heldUntil: lab.wall() + 30_000 });
      t.strictSame(await claim(ledger, { now: now(), channels: ['default', 'rated'] }), [], 'nothing is early');

      const { startedAt = 0, finishedAt = 0 } = (await seen('done')) ?? {};
      t.ok(finishedAt >= startedAt, 'no run ends before it began');
      await ledger.extend(ann, [runs[0] as never, runs[1] as never], now() + LEASE_MS, now());
      t.match(await seen('limited'), { leaseUntil: lab.wall() + 10_000 + TIMEOUT_GRACE_MS }, 'its time goes on as it did');

      await lab.pass(30_000);
      t.match(await ledger.maintain(now()), { expired: 2, late: 1 }, 'leases end when they should: those of both channels');
      const { expired } = await ledger.maintain(now());
      t.equal(expired, 0);
      const ids = (await claim(ledger, { worker: ben, now: now(), channels: ['default', 'rated'] })).map(({ id }) => id).sort();
      t.strictSame(ids.slice(0, 5), ['delayed', 'failing', 'held', 'leased', 'rated 1'], 'and what was to wait has waited');
      t.match(await seen('dated'), { state: 'ready' });

      await lab.pass(runAt - lab.wall());
      await ledger.maintain(now());
      t.ok(
        (await claim(ledger, { worker: ben, now: now() })).some(({ id }) => id === 'dated'),
        'at the instant that the clock shows',
      );
    });

  test('what happened while the clock was set and nobody was there', async (t, lab) => {
    const first = await open(t, lab);
    await first.ledger.add(
      [
        { id: 'a', data: 1 },
        { id: 'b', data: 1, delayMs: 40_000 },
      ],
      first.now(),
    );
    await claimOne(first.ledger, { now: first.now() });
    await lab.pass(5_000);
    await first.ledger.maintain(first.now());
    await first.ledger.close();
    // A board without a battery-backed clock starts in 1970, and the network sets it a minute later.
    const awayMs = 56 * 365 * 24 * HOUR;
    await lab.set(-awayMs);
    const { ledger, now } = await open(t, lab, 123_456);
    t.match(await ledger.get('a'), { leaseUntil: lab.wall() + 25_000 });
    t.match(await ledger.get('b'), { runAt: lab.wall() + 35_000 });
    await ledger.add([{ id: 'c', data: 1, priority: 1 }], now());
    const run = await claimOne(ledger, { worker: ben, now: now() });
    await ledger.settle(ben, [completed(run)], now());
    t.ok(((await ledger.get('c'))?.finishedAt ?? 0) < Date.parse('1980-01-01'));
    await lab.pass(10_000);
    await lab.set(awayMs);
    await ledger.maintain(now());
    t.match(await ledger.get('a'), { leaseUntil: lab.wall() + 15_000 });
    t.match(await ledger.get('b'), { runAt: lab.wall() + 25_000 });
    t.match(
      await ledger.get('c'),
      { finishedAt: lab.wall() - 10_000, createdAt: lab.wall() - 10_000 },
      'it is not older than the clock made it',
    );
  });

  test('a schedule follows the clock, and fires for no instant twice', async (t, lab) => {
    const { ledger, now } = await open(t, lab);
    const made = async (of: string) =>
      (await ledger.list({ idPrefix: `${of}@` }, { limit: 500, oldestFirst: true }, now())).jobs.map(({ id }) =>
        id.slice(id.indexOf('T') + 1, -8),
      );
    const maintain = async () => {
      await ledger.maintain(now());
      await ledger.maintain(now());
    };
    for (const missed of ['skip', 'once', 'all'] as const)
      await ledger.putSchedule({ id: missed, cron: '*/30 * * * *', missed, job: { data: null } }, now());
    await lab.pass(23 * 60_000);
    await maintain();
    await lab.pass(2 * 60_000);
    t.strictSame(await made('skip'), ['10:30'], '10:32');
    await lab.set(HOUR);
    await maintain();
    t.strictSame(await made('skip'), ['10:30'], '11:32: what the clock left out was missed');
    t.strictSame(await made('once'), ['10:30', '11:30']);
    t.strictSame(await made('all'), ['10:30', '11:00', '11:30']);
    await lab.set(-HOUR);
    for (let minutes = 0; minutes < 120; minutes += 10) {
      await lab.pass(10 * 60_000);
      await maintain();
    }
    t.strictSame(await made('once'), ['10:30', '11:30', '12:00', '12:30'], 'from 10:32 on again: what has fired does not fire again');
    await lab.set(-20 * 365 * 24 * HOUR);
    await maintain();
    await lab.pass(30 * 60_000);
    await maintain();
    t.equal((await made('once')).length, 5, 'a clock that was wrong by years does not silence it for years');
    const before = (await made('all')).length;
    await lab.set(20 * 365 * 24 * HOUR);
    await maintain();
    await lab.pass(30 * 60_000);
    await maintain();
    t.equal((await made('all')).length, before + 1, 'nor are the years made up for');
  });

  test('drift and small steps are followed without a word', async (t, lab) => {
    const { ledger, now } = await open(t, lab);
    await ledger.add([{ id: 'a', data: 1, delayMs: 40_000 }], now());
    const { runAt } = (await ledger.get('a')) ?? {};
    for (let step = 0; step < 10; step += 1) {
      await lab.set(-600);
      await lab.pass(100);
      t.match(await ledger.maintain(now()), { moved: false });
    }
    t.match(await ledger.get('a'), { runAt });
  });

  if (engine === 'postgres') {
    test('several Masters share the clock of the database, whatever theirs show', async (t, lab) => {
      const one = await open(t, lab);
      const two = await open(t, lab, -9 * HOUR);
      const three = await open(t, lab, 9 * HOUR);
      const all = [one, two, three];
      await one.ledger.add(
        all.map((_, index) => ({ id: `${index}`, data: 1, attempts: 1 })),
        one.now(),
      );
      for (const [index, { ledger, now }] of all.entries()) {
        await claimOne(ledger, { worker: { id: `w${index}`, name: 'w' }, now: now() });
        t.match(await ledger.get(`${index}`), { startedAt: lab.wall(), leaseUntil: lab.wall() + LEASE_MS });
      }
      const shifts: string[] = [];
      for (const byMs of [HOUR, -HOUR, -HOUR]) {
        await lab.pass(1_000);
        await lab.set(byMs);
        const left = LEASE_MS - 1_000 * (shifts.length + 1);
        for (const { ledger, now } of all) {
          t.match(await ledger.maintain(now()), { expired: 0, moved: true });
          for (const index of [0, 1, 2]) t.match(await ledger.get(`${index}`), { leaseUntil: lab.wall() + left }, 'shifted once');
        }
        shifts.push('');
      }
      await lab.pass(LEASE_MS);
      t.match(await three.ledger.maintain(three.now()), { expired: 3, moved: false });
    });

    test('a Master that stood still does not set the clock of the others', async (t, lab) => {
      const one = await open(t, lab);
      let suspendedMs = 0;
      const clock = lab.clockOf();
      const paused = { now: () => clock.now() - suspendedMs, wall: clock.wall };
      const other = await openLedger(lab.url, { clock: paused });
      t.teardown(() => other.close());
      await one.ledger.add([{ id: 'a', data: 1, delayMs: 2 * HOUR }], one.now());
      const { runAt } = (await one.ledger.get('a')) ?? {};
      // Its machine was suspended in a way that none of its clocks shows.
      suspendedMs = HOUR;
      for (let tenth = 0; tenth < 6; tenth += 1) {
        await lab.pass(HOUR / 6);
        await one.ledger.maintain(one.now());
      }
      t.match(await other.maintain(paused.now()), { moved: false });
      t.match(await other.get('a'), { runAt });
      await other.add([{ id: 'b', data: 1, delayMs: 1_000 }], paused.now());
      t.match(await other.get('b'), { runAt: lab.wall() + 1_000 });
      t.match(await one.ledger.maintain(one.now()), { moved: false });
    });
  }
}

t.test('without a clock the time of a ledger is what its callers say', async (t) => {
  const ledger: Ledger = await openLedger('memory:');
  t.teardown(() => ledger.close());
  await ledger.add([{ id: 'a', data: 1 }], 5_000);
  t.match(await ledger.get('a'), { createdAt: 5_000 });
  t.match(await ledger.maintain(6_000), { moved: false });
});
