import type { SettledJob } from '../job/job.js';
import { MAX_MESSAGE_BYTES } from '../job/limits.js';
import type { Statements } from './driver.js';
import { END_COLUMNS, type EndRow, settledJob } from './job-row.js';
import type { JobCounts, JobRecord, JobState } from './ledger.js';
import type { Transaction } from './transaction.js';

const GET = `SELECT ${END_COLUMNS}, job.channel, job.priority, job.attempts_allowed, job.lease, job.lease_until, job.run_at, worker.id AS worker_id
  FROM job LEFT JOIN worker ON worker.seq = job.worker WHERE job.id = ?`;

interface JobRow extends Omit<EndRow, 'state'> {
  readonly state: JobState;
  readonly channel: string;
  readonly priority: number;
  readonly attempts_allowed: number;
  readonly lease: number;
  readonly lease_until: number | null;
  readonly run_at: number | null;
  readonly worker_id: string | null;
}

export async function getJob(sql: Statements, id: string): Promise<JobRecord | undefined> {
  const [row] = await sql.all<JobRow>(GET, [id]);
  if (row === undefined) return undefined;
  const { state } = row;
  return {
    id: row.id,
    channel: row.channel,
    state,
    priority: row.priority,
    attempts: { made: row.attempts_made, allowed: row.attempts_allowed },
    lease: row.lease,
    // A job that waits again is nobody's.
    ...(row.worker_id !== null && state !== 'ready' && { worker: { id: row.worker_id, name: row.worker_name ?? '' } }),
    ...(row.lease_until !== null && { leaseUntil: row.lease_until }),
    ...(row.run_at !== null && { runAt: row.run_at }),
    ...((state === 'completed' || state === 'failed' || state === 'cancelled') && { settled: settledJob({ ...row, state }) }),
  };
}

const SETTLED = `SELECT job.settled_seq, ${END_COLUMNS} FROM job LEFT JOIN worker ON worker.seq = job.worker
  WHERE job.settled_seq > ? AND job.settled_seq <= ? AND job.settled_seq IS NOT NULL ORDER BY job.settled_seq LIMIT ?`;

/** Rows read at once, and the outputs that one answer holds at least before it is cut short. */
const PAGE = 64;
const ENOUGH_CHARS = MAX_MESSAGE_BYTES;

export async function settledAfter(
  sql: Statements,
  cursor: number,
  limit: number,
): Promise<{ readonly cursor: number; readonly job: SettledJob }[]> {
  const settled: { readonly cursor: number; readonly job: SettledJob }[] = [];
  let chars = 0;
  const horizon = (await sql.numbers?.settledHorizon()) ?? Number.MAX_SAFE_INTEGER;
  while (settled.length < limit && chars < ENOUGH_CHARS) {
    const after = settled[settled.length - 1]?.cursor ?? cursor;
    const page = Math.min(PAGE, limit - settled.length);
    const rows = await sql.all<EndRow & { readonly settled_seq: number }>(SETTLED, [after, horizon, page]);
    for (const row of rows) {
      chars += row.output?.length ?? 0;
      settled.push({ cursor: row.settled_seq, job: settledJob(row) });
    }
    if (rows.length < page) break;
  }
  return settled;
}

const LAST_SETTLED = 'SELECT MAX(settled_seq) AS value FROM job WHERE settled_seq IS NOT NULL AND settled_seq <= ?';

export async function lastSettled(sql: Statements): Promise<number> {
  const [row] = await sql.all<{ value: number }>(LAST_SETTLED, [(await sql.numbers?.settledHorizon()) ?? Number.MAX_SAFE_INTEGER]);
  return row?.value ?? 0;
}

const COUNTS = 'SELECT state, CAST(SUM(jobs) AS INTEGER) AS jobs FROM tally GROUP BY state';

export async function countJobs(transaction: Transaction): Promise<JobCounts> {
  await transaction.flush();
  const counts = { blocked: 0, ready: 0, leased: 0, completed: 0, failed: 0, cancelled: 0 };
  for (const row of await transaction.all<{ state: JobState; jobs: number }>(COUNTS)) counts[row.state] = row.jobs;
  return counts;
}

/** A delayed job that is due needs no waking: the next claim finds it. */
const NEXT_DUE = `SELECT run_at AS wake_at FROM job WHERE state = 'ready' AND run_at IS NOT NULL AND run_at > ? ORDER BY run_at LIMIT 1`;
const NEXT_LEASE_END = `SELECT lease_until AS wake_at FROM job WHERE state = 'leased' ORDER BY lease_until LIMIT 1`;

export async function nextWakeAt(sql: Statements, now: number): Promise<number | undefined> {
  const [due] = await sql.all<{ wake_at: number }>(NEXT_DUE, [now]);
  const [end] = await sql.all<{ wake_at: number }>(NEXT_LEASE_END);
  if (due === undefined && end === undefined) return undefined;
  return Math.max(now, Math.min(due?.wake_at ?? Number.POSITIVE_INFINITY, end?.wake_at ?? Number.POSITIVE_INFINITY));
}
