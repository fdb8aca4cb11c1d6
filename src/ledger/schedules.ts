import { Cron } from 'croner';
import { PeerworkError } from '../errors.js';
import type { JobInput, Json } from '../job/job.js';
import { checkJobInput } from '../job/job-input.js';
import { check, choice, flag, string, text } from '../job/kinds.js';
import type { Missed, ScheduleInput, ScheduleRecord } from './records.js';
import { storedJson } from './stored-json.js';
import type { Transaction } from './transaction.js';

interface ScheduleRow {
  readonly id: string;
  readonly cron: string;
  readonly time_zone: string;
  readonly missed: Missed;
  readonly paused: 0 | 1;
  readonly last_at: number | null;
  readonly next_at: number | null;
  readonly job: string;
}

const COLUMNS = 'id, cron, time_zone, missed, paused, last_at, next_at, job';
const GET = `SELECT ${COLUMNS} FROM schedule WHERE id = ? FOR UPDATE`;
const LIST = `SELECT ${COLUMNS} FROM schedule ORDER BY id`;
const ENTER = `INSERT INTO schedule (seq, id, cron, time_zone, missed, paused, next_at, job) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
  ON CONFLICT (id) DO UPDATE SET cron = excluded.cron, time_zone = excluded.time_zone, missed = excluded.missed, paused = excluded.paused,
  next_at = excluded.next_at, job = excluded.job`;
const DUE = `SELECT ${COLUMNS} FROM schedule WHERE paused = 0 AND next_at IS NOT NULL AND next_at <= ? ORDER BY next_at LIMIT 50 FOR UPDATE SKIP LOCKED`;
const FIRED = 'UPDATE schedule SET last_at = ?, next_at = ? WHERE id = ?';
const WAITING = `SELECT ${COLUMNS} FROM schedule WHERE paused = 0 AND next_at IS NOT NULL ORDER BY id FOR UPDATE`;
const PAUSE = 'UPDATE schedule SET paused = ?, next_at = ? WHERE id = ?';
const NEXT = 'SELECT MIN(next_at) AS next_at FROM schedule WHERE paused = 0 AND next_at IS NOT NULL';

/** An id leaves room for the instant in the ids of its jobs. */
const MAX_ID_CHARS = 150;
/** A run this late was missed: no Master was there. */
const LATE_MS = 60_000;
/** Jobs that one schedule adds in one call. */
const MAX_AT_ONCE = 200;

/** Makes or replaces a schedule; it fires first after `now`. Throws `schedule-invalid` or `job-invalid`. */
export async function putSchedule(transaction: Transaction, input: ScheduleInput, now: number): Promise<ScheduleRecord> {
  const { id, cron, timeZone = 'UTC', missed = 'once', paused = false } = input;
  const job = checked(id, input);
  const next = nextAfter({ cron, time_zone: timeZone }, now);
  if (next !== null) transaction.due(next);
  const seq = await transaction.draw('schedule', 1);
  await transaction.run(ENTER, [seq, id, cron, timeZone, missed, paused ? 1 : 0, paused ? null : next, job]);
  transaction.touched('schedule', id);
  return record(await get(transaction, id));
}

/** A schedule that goes on does not make up for what its pause left out. */
export async function pauseSchedule(
  transaction: Transaction,
  id: string,
  paused: boolean,
  now: number,
): Promise<ScheduleRecord | undefined> {
  const [row] = await transaction.all<ScheduleRow>(GET, [id]);
  if (row === undefined) return undefined;
  const next = paused ? null : nextAfter(row, now);
  if (next !== null) transaction.due(next);
  await transaction.run(PAUSE, [paused ? 1 : 0, next, id]);
  transaction.touched('schedule', id);
  return record(await get(transaction, id));
}

export async function deleteSchedule(transaction: Transaction, id: string): Promise<boolean> {
  transaction.touched('schedule', id);
  return (await transaction.run('DELETE FROM schedule WHERE id = ?', [id])) > 0;
}

export async function getSchedule(transaction: Transaction, id: string): Promise<ScheduleRecord | undefined> {
  const [row] = await transaction.all<ScheduleRow>(GET, [id]);
  return row && record(row);
}

export async function listSchedules(transaction: Transaction): Promise<ScheduleRecord[]> {
  return (await transaction.all<ScheduleRow>(LIST)).map(record);
}

/**
 * Adds the jobs of schedules that are due. A job is called after its schedule and the instant it is for, so that it cannot be added twice,
 * whoever tries. A schedule whose job is refused is paused. `add` refuses before it writes anything. Returns whether there is more to do.
 */
export async function fireSchedules(
  transaction: Transaction,
  now: number,
  add: (jobs: JobInput[]) => Promise<unknown>,
): Promise<{ readonly more: boolean }> {
  let more = false;
  for (const row of await transaction.all<ScheduleRow>(DUE, [now])) {
    const instants = instantsOf(row, now);
    const fired = instants.due.filter((at) => row.missed === 'all' || at > now - LATE_MS);
    const missed = instants.due[instants.due.length - 1];
    // Of what was missed, the latest.
    if (fired.length === 0 && row.missed === 'once' && missed !== undefined && instants.complete) fired.push(missed);
    const job = storedJson<Omit<JobInput, 'id'>>(row.job);
    transaction.touched('schedule', row.id);
    try {
      if (fired.length > 0) await add(fired.map((at) => ({ ...job, id: `${row.id}@${new Date(at).toISOString()}` })));
    } catch (thrown) {
      if (!isOfJob(thrown)) throw thrown;
      // A parent that is gone, say: all else that time brings about must go on.
      await transaction.run(PAUSE, [1, null, row.id]);
      continue;
    }
    await transaction.run(FIRED, [fired[fired.length - 1] ?? row.last_at, instants.next, row.id]);
    more ||= !instants.complete;
  }
  return { more };
}

/**
 * The clock was set: schedules go on from what it shows now. An instant that they have fired for they do not fire for again, unless it lies so far
 * ahead that it was a mistake of the clock.
 */
export async function startSchedulesAnew(transaction: Transaction, now: number, mistakenMs: number): Promise<void> {
  for (const row of await transaction.all<ScheduleRow>(WAITING)) {
    const fired = row.last_at !== null && row.last_at - now <= mistakenMs ? row.last_at : now;
    await transaction.run(FIRED, [row.last_at, nextAfter(row, Math.max(now, fired)), row.id]);
    transaction.touched('schedule', row.id);
  }
}

function isOfJob(thrown: unknown): boolean {
  return thrown instanceof PeerworkError && ['job-invalid', 'parent-unknown', 'graph-cycle'].includes(thrown.code);
}

/** The instants up to `now` that it has not fired for, and the one after them. */
function instantsOf(row: ScheduleRow, now: number): { readonly due: number[]; readonly next: number | null; readonly complete: boolean } {
  const due: number[] = [];
  let next: number | null = row.next_at;
  if (next !== null && row.missed !== 'all' && next < now - LATE_MS) {
    // However long nobody was there: only the last instant counts.
    const [latest] = cronOf(row).previousRuns(1, new Date(now + 1));
    next = Math.max(next, latest === undefined ? next : latest.getTime());
    next = firstWithin(row, next, now);
  }
  while (next !== null && next <= now && due.length < MAX_AT_ONCE) {
    due.push(next);
    next = nextAfter(row, next);
  }
  return { due, next, complete: next === null || next > now };
}

/** The earliest instant that is not late yet, if there is any before `latest`. */
function firstWithin(row: ScheduleRow, latest: number, now: number): number {
  const first = nextAfter(row, now - LATE_MS - 1);
  return first !== null && first < latest ? first : latest;
}

export async function nextScheduleAt(transaction: Transaction): Promise<number | undefined> {
  const [row] = await transaction.all<{ next_at: number | null }>(NEXT);
  return row?.next_at ?? undefined;
}

async function get(transaction: Transaction, id: string): Promise<ScheduleRow> {
  const [row] = await transaction.all<ScheduleRow>(GET, [id]);
  if (row === undefined) throw new Error('a schedule that was made is not there');
  return row;
}

function cronOf({ cron, time_zone }: Pick<ScheduleRow, 'cron' | 'time_zone'>): Cron {
  return new Cron(cron, { timezone: time_zone, paused: true });
}

function nextAfter(row: Pick<ScheduleRow, 'cron' | 'time_zone'>, after: number): number | null {
  return cronOf(row).nextRun(new Date(after))?.getTime() ?? null;
}

/** JSON text of the job. */
function checked(id: string, { cron, timeZone = 'UTC', missed = 'once', paused = false, job }: ScheduleInput): string {
  try {
    check(text(MAX_ID_CHARS), id, 'id');
    check(string, timeZone, 'timeZone');
    check(choice(['skip', 'once', 'all']), missed, 'missed');
    check(flag, paused, 'paused');
  } catch (thrown) {
    throw thrown instanceof PeerworkError ? refuse(thrown.detail) : thrown;
  }
  if (typeof cron !== 'string' || ![5, 6].includes(cron.trim().split(/\s+/).length)) throw refuse('cron has neither five fields nor six');
  try {
    new Intl.DateTimeFormat('en', { timeZone });
  } catch {
    throw refuse(`there is no time zone ${JSON.stringify(timeZone)}`);
  }
  try {
    if (cronOf({ cron, time_zone: timeZone }).nextRun() === null) throw refuse(`${cron} never comes`);
  } catch (thrown) {
    throw thrown instanceof PeerworkError ? thrown : refuse(`cron: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
  }
  if (typeof job !== 'object' || job === null || Array.isArray(job)) throw refuse('job is not an object');
  for (const field of ['id', 'runAt', 'delayMs']) if (field in job) throw refuse(`job.${field} is the schedule's to say`);
  checkJobInput(job);
  return JSON.stringify(job);
}

function refuse(detail: string): PeerworkError {
  return new PeerworkError('schedule-invalid', detail);
}

function record(row: ScheduleRow): ScheduleRecord {
  return {
    id: row.id,
    cron: row.cron,
    timeZone: row.time_zone,
    missed: row.missed,
    paused: row.paused === 1,
    ...(row.last_at !== null && { lastAt: row.last_at }),
    ...(row.next_at !== null && { nextAt: row.next_at }),
    job: storedJson<Json>(row.job),
  };
}
