import type { SettledJob } from '../job/job.js';
import { MAX_MESSAGE_BYTES } from '../job/limits.js';
import type { Statements } from './driver.js';
import { END_COLUMNS, type EndRow, settledJob } from './job-row.js';
import { padded, pieces, repeated, sized } from './lists.js';
import type { JobCounts, JobState } from './records.js';
import type { Transaction } from './transaction.js';

const SETTLED = `SELECT job.settled_seq, ${END_COLUMNS} FROM job LEFT JOIN worker ON worker.seq = job.worker
  WHERE job.settled_seq > ? AND job.settled_seq <= ? AND job.settled_seq IS NOT NULL ORDER BY job.settled_seq LIMIT ?`;

/** Rows per query, and the size of outputs after which a result is truncated. */
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

const STATES = sized((count) => `SELECT id, state FROM job WHERE id IN (${repeated('?', count)})`);

export async function jobStates(sql: Statements, ids: readonly string[]): Promise<{ readonly id: string; readonly state: JobState }[]> {
  const found: { readonly id: string; readonly state: JobState }[] = [];
  for (const piece of pieces(ids)) {
    const list = padded(piece);
    found.push(...(await sql.all<{ readonly id: string; readonly state: JobState }>(STATES(list.length), list)));
  }
  return found;
}

export const noJobs: JobCounts = { blocked: 0, ready: 0, leased: 0, completed: 0, failed: 0, cancelled: 0 };

const COUNTS = 'SELECT state, CAST(SUM(jobs) AS INTEGER) AS jobs FROM tally GROUP BY state';

export async function countJobs(transaction: Transaction): Promise<JobCounts> {
  await transaction.flush();
  const counts = { ...noJobs };
  for (const row of await transaction.all<{ state: JobState; jobs: number }>(COUNTS)) counts[row.state] = row.jobs;
  return counts;
}
