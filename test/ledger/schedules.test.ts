import t, { type Test } from 'tap';
import type { Ledger } from '../../src/ledger/ledger.js';
import { openLedger } from '../../src/ledger/open.js';
import { PostgresDriver } from '../../src/ledger/postgres.js';
import { findPostgres } from '../lab/postgres.js';
import { requireThat } from '../lab/require.js';
import { emptyDatabase, engines } from './engines.js';
import { NOW } from './verbs.js';

const at = (text: string) => Date.parse(text);

for (const engine of engines) {
  const test = (name: string, body: (t: Test, ledger: Ledger) => Promise<void>) =>
    t.test(`${engine.name}: ${name}`, async (t) => body(t, (await engine.open(t, () => 0)).ledger));
  const made = async (ledger: Ledger) => (await ledger.list({}, { limit: 500, oldestFirst: true }, NOW)).jobs.map(({ id }) => id);
  const tendAll = async (ledger: Ledger, now: number) => {
    for (;;) {
      const { nextAt } = await ledger.maintain(now);
      if (nextAt === undefined || nextAt > now) return nextAt;
    }
  };

  test('a schedule fires at its instants, once each', async (t, ledger) => {
    const from = at('2026-03-01T10:07:00Z');
    const schedule = await ledger.putSchedule({ id: 'q', cron: '*/15 * * * *', job: { data: { a: 1 }, channel: 'c', group: 'g' } }, from);
    t.match(schedule, { timeZone: 'UTC', missed: 'once', paused: false, nextAt: at('2026-03-01T10:15:00Z') });
    t.equal(await tendAll(ledger, from), at('2026-03-01T10:15:00Z'));
    await tendAll(ledger, at('2026-03-01T10:15:00Z'));
    await tendAll(ledger, at('2026-03-01T10:15:01Z'));
    t.strictSame(await made(ledger), ['q@2026-03-01T10:15:00.000Z']);
    t.match(await ledger.get('q@2026-03-01T10:15:00.000Z'), { data: { a: 1 }, channel: 'c', group: 'g', state: 'ready' });
    t.match(await ledger.getSchedule('q'), { lastAt: at('2026-03-01T10:15:00Z'), nextAt: at('2026-03-01T10:30:00Z') });
    await ledger.putSchedule({ id: 'q', cron: '*/15 * * * *', job: { data: 2 } }, at('2026-03-01T10:14:00Z'));
    await tendAll(ledger, at('2026-03-01T10:16:00Z'));
    t.equal((await made(ledger)).length, 1, 'the same instant never twice');
  });

  test('what was missed: skipped, once, all', async (t, ledger) => {
    const from = at('2026-03-01T00:00:30Z');
    for (const missed of ['skip', 'once', 'all'] as const)
      await ledger.putSchedule({ id: missed, cron: '0 * * * *', missed, job: { data: null } }, from);
    await tendAll(ledger, at('2026-03-02T06:30:00Z'));
    const jobs = await made(ledger);
    t.strictSame(
      jobs.filter((id) => id.startsWith('skip')),
      [],
    );
    t.strictSame(
      jobs.filter((id) => id.startsWith('once')),
      ['once@2026-03-02T06:00:00.000Z'],
    );
    t.equal(jobs.filter((id) => id.startsWith('all')).length, 30);
    await tendAll(ledger, at('2026-03-02T07:00:05Z'));
    t.strictSame(
      (await made(ledger)).slice(-3).map((id) => id.slice(id.indexOf('@'))),
      Array(3).fill('@2026-03-02T07:00:00.000Z'),
      'and what comes is on time',
    );
  });

  test('a year away, every second: bounded', async (t, ledger) => {
    await ledger.putSchedule({ id: 's', cron: '* * * * * *', job: { data: null } }, at('2025-01-01T00:00:00Z'));
    await tendAll(ledger, at('2026-01-01T00:00:00Z'));
    const jobs = await made(ledger);
    t.ok(jobs.length <= 61 && jobs.length >= 1, `${jobs.length} jobs`);
    t.equal(jobs.at(-1), 's@2026-01-01T00:00:00.000Z');
  });

  test('time zones, and the two nights on which clocks change', async (t, ledger) => {
    await ledger.putSchedule(
      { id: 'b', cron: '30 2 * * *', timeZone: 'Europe/Berlin', missed: 'all', job: { data: null } },
      at('2026-03-27T12:00:00Z'),
    );
    for (let day = 28; day <= 31; day += 1) await tendAll(ledger, at(`2026-03-${day}T12:00:00Z`));
    const spring = await made(ledger);
    t.equal(spring.length, 4, 'once a day, also on the day without half past two');
    t.equal(spring[0], 'b@2026-03-28T01:30:00.000Z');
    t.equal(spring.at(-1), 'b@2026-03-31T00:30:00.000Z');
    await ledger.putSchedule(
      { id: 'a', cron: '30 2 * * *', timeZone: 'Europe/Berlin', missed: 'all', job: { data: null } },
      at('2026-10-24T12:00:00Z'),
    );
    for (const day of ['10-25', '10-26']) await tendAll(ledger, at(`2026-${day}T12:00:00Z`));
    t.equal((await made(ledger)).filter((id) => id.startsWith('a@')).length, 2, 'once, also on the day that has it twice');
    // By then these would produce more jobs than are listed.
    for (const id of ['a', 'b']) await ledger.deleteSchedule(id);
    for (const [from, to] of [
      ['2026-10-24T22:10:00Z', '2026-10-25T03:00:00Z'],
      ['2027-03-27T23:10:00Z', '2027-03-28T04:00:00Z'],
    ] as const) {
      const id = to.slice(0, 4);
      await ledger.putSchedule({ id, cron: '*/30 * * * *', timeZone: 'Europe/Berlin', missed: 'all', job: { data: null } }, at(from));
      await tendAll(ledger, at(to));
      const minutes = (at(to) - at(from)) / 60_000;
      t.equal(
        (await made(ledger)).filter((each) => each.startsWith(`${id}@`)).length,
        Math.floor(minutes / 30) + 1,
        'each half hour, in both nights',
      );
      await ledger.deleteSchedule(id);
    }
  });

  test('pause, list, delete', async (t, ledger) => {
    const from = at('2026-03-01T00:00:30Z');
    for (const id of ['x', 'y']) await ledger.putSchedule({ id, cron: '* * * * *', job: { data: null } }, from);
    t.match(await ledger.pauseSchedule('x', true, from), { paused: true });
    await tendAll(ledger, at('2026-03-01T00:01:00Z'));
    t.strictSame(await made(ledger), ['y@2026-03-01T00:01:00.000Z']);
    t.match(await ledger.pauseSchedule('x', false, at('2026-03-01T05:00:30Z')), { paused: false, nextAt: at('2026-03-01T05:01:00Z') });
    t.match(await ledger.listSchedules(), [{ id: 'x' }, { id: 'y' }]);
    t.ok(await ledger.deleteSchedule('x'));
    t.notOk(await ledger.deleteSchedule('x'));
    t.equal(await ledger.pauseSchedule('x', true, from), undefined);
    t.equal(await ledger.getSchedule('x'), undefined);
  });

  test('what cannot be a schedule', async (t, ledger) => {
    const good = { id: 's', cron: '* * * * *', job: { data: 1 } };
    for (const [bad, detail] of [
      [{ cron: '* * * *' }, /five fields/],
      [{ cron: '61 * * * *' }, /cron/],
      [{ cron: '0 0 31 2 *' }, /never/],
      [{ cron: 5 }, /cron/],
      [{ timeZone: 'Mars/Base' }, /Mars/],
      [{ missed: 'often' }, /missed/],
      [{ id: '' }, /id/],
      [{ job: { id: 'x', data: 1 } }, /job.id/],
      [{ job: { data: 1, delayMs: 5 } }, /delayMs/],
      [{ job: null }, /job/],
    ] as const)
      await t.rejects(ledger.putSchedule({ ...good, ...bad } as never, NOW), { code: 'schedule-invalid', detail });
    await t.rejects(ledger.putSchedule({ ...good, job: { data: 1, nothing: 2 } as never }, NOW), { code: 'job-invalid' });
  });
}

t.test('reading a schedule does not wait for a Master that is changing it', async (t) => {
  if (!requireThat(t, findPostgres() !== undefined, 'postgres missing: apt-get install postgresql')) return;
  const url = await emptyDatabase();
  const ledger = await openLedger(url);
  t.teardown(() => ledger.close());
  await ledger.putSchedule({ id: 'q', cron: '*/15 * * * *', job: { data: 1 } }, NOW);
  const other = await PostgresDriver.open(url);
  t.teardown(() => other.close());
  await other.transaction(async (sql) => {
    await sql.all("SELECT id FROM schedule WHERE id = 'q' FOR UPDATE");
    // If it waited for this lock, it would be rejected after the time limit for a statement.
    t.match(await ledger.getSchedule('q'), { id: 'q' });
  });
});
