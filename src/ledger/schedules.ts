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
const GET = `SELECT ${COLUMNS} FROM schedule WHERE id = ?`;
const LOCK = `${GET} FOR UPDATE`;
const LIST = `SELECT ${COLUMNS} FROM schedule ORDER BY id`;
const UPSERT = `INSERT INTO schedule (seq, id, cron, time_zone, missed, paused, next_at, job) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
  ON CONFLICT (id) DO UPDATE SET cron = excluded.cron, time_zone = excluded.time_zone, missed = excluded.missed, paused = excluded.paused,
  next_at = excluded.next_at, job = excluded.job`;
const DUE = `SELECT ${COLUMNS} FROM schedule WHERE paused = 0 AND next_at IS NOT NULL AND next_at <= ? ORDER BY next_at LIMIT 50 FOR UPDATE SKIP LOCKED`;
const FIRED = 'UPDATE schedule SET last_at = ?, next_at = ? WHERE id = ?';
const WAITING = `SELECT ${COLUMNS} FROM schedule WHERE paused = 0 AND next_at IS NOT NULL ORDER BY id FOR UPDATE`;
const PAUSE = 'UPDATE schedule SET paused = ?, next_at = ? WHERE id = ?';
const NEXT = 'SELECT MIN(next_at) AS next_at FROM schedule WHERE paused = 0 AND next_at IS NOT NULL';

/** Leaves room for the instant in the ids of its jobs. */
const MAX_ID_CHARS = 150;
/** A run later than this was missed: no Master was running. */
const LATE_MS = 60_000;
/** Jobs that one schedule adds per call. */
const MAX_AT_ONCE = 200;

/** Creates or replaces a schedule; it first fires after `now`. Throws `schedule-invalid` or `job-invalid`. */
export async function putSchedule(transaction: Transaction, input: ScheduleInput, now: number): Promise<ScheduleRecord> {
  const { id, cron, timeZone = 'UTC', missed = 'once', paused = false } = input;
  const job = checkSchedule(id, input);
  const next = nextAfter({ cron, time_zone: timeZone }, now);
  if (next !== null) transaction.due(next);
  const seq = await transaction.draw('schedule', 1);
  await transaction.run(UPSERT, [seq, id, cron, timeZone, missed, paused ? 1 : 0, paused ? null : next, job]);
  transaction.touched('schedule', id);
  return recordOf(await get(transaction, id));
}

/** Pauses or resumes a schedule. A resumed schedule does not make up for what its pause skipped. */
export async function pauseSchedule(
  transaction: Transaction,
  id: string,
  paused: boolean,
  now: number,
): Promise<ScheduleRecord | undefined> {
  const [row] = await transaction.all<ScheduleRow>(LOCK, [id]);
  if (row === undefined) return undefined;
  const next = paused ? null : nextAfter(row, now);
  if (next !== null) transaction.due(next);
  await transaction.run(PAUSE, [paused ? 1 : 0, next, id]);
  transaction.touched('schedule', id);
  return recordOf(await get(transaction, id));
}

export async function deleteSchedule(transaction: Transaction, id: string): Promise<boolean> {
  transaction.touched('schedule', id);
  return (await transaction.run('DELETE FROM schedule WHERE id = ?', [id])) > 0;
}

export async function getSchedule(transaction: Transaction, id: string): Promise<ScheduleRecord | undefined> {
  const [row] = await transaction.all<ScheduleRow>(GET, [id]);
  return row && recordOf(row);
}

export async function listSchedules(transaction: Transaction): Promise<ScheduleRecord[]> {
  return (await transaction.all<ScheduleRow>(LIST)).map(recordOf);
}

/**
 * Adds the jobs of schedules that are due. A job's id consists of its schedule and its instant, so that it cannot be added twice, no matter
 * which Master tries. A schedule whose job is refused is paused; `add` must refuse before it writes anything. Returns whether there is more
 * to do.
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
    // Make up for the latest missed run only.
    if (fired.length === 0 && row.missed === 'once' && missed !== undefined && instants.complete) fired.push(missed);
    const job = storedJson<Omit<JobInput, 'id'>>(row.job);
    transaction.touched('schedule', row.id);
    try {
      if (fired.length > 0) await add(fired.map((at) => ({ ...job, id: `${row.id}@${new Date(at).toISOString()}` })));
    } catch (thrown) {
      if (!isJobError(thrown)) throw thrown;
      // For example, a parent no longer exists. The rest of the maintenance must go on.
      await transaction.run(PAUSE, [1, null, row.id]);
      continue;
    }
    await transaction.run(FIRED, [fired[fired.length - 1] ?? row.last_at, instants.next, row.id]);
    more ||= !instants.complete;
  }
  return { more };
}

/**
 * Continues schedules from `now` after the clock was set. They do not fire again for an instant that they already fired for, unless it is
 * more than `mistakenMs` ahead, that is, the clock had been wrong.
 */
export async function restartSchedules(transaction: Transaction, now: number, mistakenMs: number): Promise<void> {
  for (const row of await transaction.all<ScheduleRow>(WAITING)) {
    const fired = row.last_at !== null && row.last_at - now <= mistakenMs ? row.last_at : now;
    await transaction.run(FIRED, [row.last_at, nextAfter(row, Math.max(now, fired)), row.id]);
    transaction.touched('schedule', row.id);
  }
}

function isJobError(thrown: unknown): boolean {
  return thrown instanceof PeerworkError && ['job-invalid', 'parent-unknown', 'graph-cycle'].includes(thrown.code);
}

/** Returns the instants up to `now` that the schedule has not fired for, and the next one after them. */
function instantsOf(row: ScheduleRow, now: number): { readonly due: number[]; readonly next: number | null; readonly complete: boolean } {
  const due: number[] = [];
  let next: number | null = row.next_at;
  if (next !== null && row.missed !== 'all' && next < now - LATE_MS) {
    // However long no Master was running, only the last instant counts.
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

/** Returns the earliest instant that is not late yet, or `latest` if there is none before it. */
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

/** Validates a schedule and returns the JSON text of its job. */
function checkSchedule(id: string, { cron, timeZone = 'UTC', missed = 'once', paused = false, job }: ScheduleInput): string {
  try {
    check(text(MAX_ID_CHARS), id, 'id');
    check(string, timeZone, 'timeZone');
    check(choice(['skip', 'once', 'all']), missed, 'missed');
    check(flag, paused, 'paused');
  } catch (thrown) {
    throw thrown instanceof PeerworkError ? invalid(thrown.detail) : thrown;
  }
  if (typeof cron !== 'string' || ![5, 6].includes(cron.trim().split(/\s+/).length)) throw invalid('cron has neither five fields nor six');
  try {
    new Intl.DateTimeFormat('en', { timeZone });
  } catch {
    throw invalid(`there is no time zone ${JSON.stringify(timeZone)}`);
  }
  try {
    if (cronOf({ cron, time_zone: timeZone }).nextRun() === null) throw invalid(`${cron} never comes`);
  } catch (thrown) {
    throw thrown instanceof PeerworkError ? thrown : invalid(`cron: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
  }
  if (typeof job !== 'object' || job === null || Array.isArray(job)) throw invalid('job is not an object');
  for (const field of ['id', 'runAt', 'delayMs']) if (field in job) throw invalid(`job.${field} is the schedule's to say`);
  checkJobInput(job);
  return JSON.stringify(job);
}

function invalid(detail: string): PeerworkError {
  return new PeerworkError('schedule-invalid', detail);
}

function recordOf(row: ScheduleRow): ScheduleRecord {
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
