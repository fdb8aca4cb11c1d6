import type { Json } from '../job/job.js';
import type { HistoryEntry, HistoryInput } from './ledger.js';
import { padded, pieces, repeated, sized } from './lists.js';
import { readRuns } from './settle.js';
import { storedJson } from './stored-json.js';
import type { Transaction } from './transaction.js';

/** Lines that are kept of a job; what comes after them is dropped. */
export const MAX_LINES = 500;
/** Of all lines of a job as JSON text; what comes after them is dropped as well. */
export const MAX_HISTORY_CHARS = 4 * 1024 * 1024;

const ADD = sized(
  (count) => `INSERT INTO history (seq, job, happened_at, kind, body) VALUES ${repeated('(?, ?, ?, ?, ?)', count)} ON CONFLICT DO NOTHING`,
);
const COUNT = sized(
  (count) =>
    `SELECT job, COUNT(*) AS lines, CAST(SUM(LENGTH(body)) AS INTEGER) AS chars FROM history WHERE job IN (${repeated('?', count)}) GROUP BY job`,
);
const READ = `SELECT history.seq, happened_at, kind, body FROM history JOIN job ON job.seq = history.job
  WHERE job.id = ? AND history.seq > ? ORDER BY history.seq LIMIT ?`;
const FORGET = sized((count) => `DELETE FROM history WHERE job IN (${repeated('?', count)})`);

interface Line {
  readonly job: number;
  readonly at: number;
  readonly kind: HistoryEntry['kind'];
  /** JSON text. */
  readonly body: string;
}

/** Keeps what running jobs tell, under the lease that they run with. */
export async function recordHistory(transaction: Transaction, entries: readonly HistoryInput[], now: number): Promise<void> {
  const runs = await readRuns(
    transaction,
    entries.map(({ id }) => id),
  );
  const lines = entries.flatMap(({ id, lease, kind, body }): Line[] => {
    const row = runs.get(id);
    return row?.state === 'leased' && row.lease === lease ? [{ job: row.seq, at: now, kind, body: JSON.stringify(body) }] : [];
  });
  await addLines(transaction, lines);
}

/** Keeps the errors of runs that failed; `error` is the JSON text of a JobError. */
export function addErrors(
  transaction: Transaction,
  errors: readonly { readonly job: number; readonly at: number; readonly error: string }[],
): Promise<void> {
  return addLines(
    transaction,
    errors.map(({ job, at, error }) => ({ job, at, kind: 'error', body: error })),
  );
}

async function addLines(transaction: Transaction, lines: readonly Line[]): Promise<void> {
  if (lines.length === 0) return;
  const kept = new Map<number, { lines: number; chars: number }>();
  for (const { job, lines: count, chars } of await transaction.allOf<{ job: number; lines: number; chars: number }>(COUNT, [
    ...new Set(lines.map(({ job }) => job)),
  ]))
    kept.set(job, { lines: count, chars });
  const fitting = lines.filter(({ job, body }) => {
    const { lines: count, chars } = kept.get(job) ?? { lines: 0, chars: 0 };
    if (count >= MAX_LINES || chars + body.length > MAX_HISTORY_CHARS) return false;
    kept.set(job, { lines: count + 1, chars: chars + body.length });
    return true;
  });
  if (fitting.length === 0) return;
  let seq = await transaction.draw('history', fitting.length);
  for (const piece of pieces(fitting)) {
    const list = padded(piece.map(({ job, at, kind, body }) => [seq++, job, at, kind, body]));
    await transaction.run(ADD(list.length), list.flat());
  }
}

export async function readHistory(transaction: Transaction, id: string, after: number, limit: number): Promise<HistoryEntry[]> {
  const rows = await transaction.all<{ seq: number; happened_at: number; kind: HistoryEntry['kind']; body: string }>(READ, [
    id,
    after,
    limit,
  ]);
  return rows.map(({ seq, happened_at, kind, body }) => ({ seq, at: happened_at, kind, body: storedJson<Json>(body) }));
}

export async function forgetHistory(transaction: Transaction, jobs: readonly number[]): Promise<void> {
  await transaction.runOf(FORGET, jobs);
}
