import type { Json, Progress } from '../job/job.js';
import type { Settlement } from '../job/verbs.js';
import { padded, pieces, repeated, sized } from './lists.js';
import type { Operations } from './operations.js';
import { readRuns } from './read-runs.js';
import type { HistoryEntry, WorkerRef } from './records.js';
import type { HistoryInput } from './requests.js';
import { storedJson } from './stored-json.js';
import type { Transaction } from './transaction.js';

/** History lines kept per job, including progress and errors. */
export const MAX_LINES = 500;
/** Characters of JSON text kept per job. Once either limit is reached, one line says so. */
export const MAX_HISTORY_CHARS = 4 * 1024 * 1024;
/** Additional room for what arrives with the end of a run: its last lines, its last progress, its error. */
const END_LINES = 100;
const END_CHARS = 2 * 1024 * 1024;
const FULL = JSON.stringify({ stream: 'log', line: '(the history of this job is full: what it says from here on is not kept)' });

const ADD = sized(
  (count) => `INSERT INTO history (seq, job, happened_at, kind, body) VALUES ${repeated('(?, ?, ?, ?, ?)', count)} ON CONFLICT DO NOTHING`,
);
const COUNT = sized(
  (count) =>
    `SELECT job, COUNT(*) AS lines, CAST(SUM(LENGTH(body)) AS INTEGER) AS chars FROM history WHERE job IN (${repeated('?', count)}) GROUP BY job`,
);
const READ = `SELECT history.seq, happened_at, kind, body FROM history JOIN job ON job.seq = history.job
  WHERE job.id = ? AND history.seq > ? ORDER BY history.seq LIMIT ?`;
const MARKED_FULL = sized(
  (count) => `SELECT DISTINCT job FROM history WHERE job IN (${repeated('?', count)}) AND kind = 'log' AND body = ?`,
);
const FORGET = sized((count) => `DELETE FROM history WHERE job IN (${repeated('?', count)})`);

export interface Line {
  readonly job: number;
  readonly at: number;
  readonly kind: HistoryEntry['kind'];
  /** JSON text. */
  readonly body: string;
  /** Whether it arrived with the end of a run. */
  readonly last: boolean;
}

/**
 * Stores the reports of runs. The fence: while nobody else has leased the job, the reports of its run belong to its history, even after it
 * was settled, cancelled or taken back.
 */
export async function recordInChunks(
  operations: Operations,
  worker: WorkerRef,
  entries: readonly HistoryInput[],
  now: number,
): Promise<void> {
  await operations.ofWorker(worker, entries, async (transaction, seq, chunk) => {
    await recordHistory(transaction, seq, chunk, transaction.at(now));
    return [];
  });
}

async function recordHistory(transaction: Transaction, worker: number, entries: readonly HistoryInput[], now: number): Promise<void> {
  const runs = await readRuns(
    transaction,
    entries.map(({ id }) => id),
  );
  const lines = entries.flatMap(({ id, lease, progress }): Line[] => {
    const row = runs.get(id);
    return row?.lease === lease && row.worker === worker ? [lineOf(row.seq, progress, now)] : [];
  });
  await addLines(transaction, lines);
}

/** Returns the history lines that arrived with an outcome. */
export function lastLines(job: number, { reports = [] }: Pick<Settlement, 'reports'>, now: number): Line[] {
  return reports.map(({ progress }) => ({ ...lineOf(job, progress, now), last: true }));
}

function lineOf(job: number, progress: Progress, at: number): Line {
  const body = progress.kind === 'progress' ? progress.value : { stream: progress.stream, line: progress.line };
  return { job, at, kind: progress.kind, body: JSON.stringify(body), last: false };
}

/** Stores the errors of failed runs; `error` is the JSON text of a JobError. */
export function addErrors(
  transaction: Transaction,
  errors: readonly { readonly job: number; readonly at: number; readonly error: string }[],
): Promise<void> {
  return addLines(
    transaction,
    errors.map(({ job, at, error }) => ({ job, at, kind: 'error', body: error, last: true })),
  );
}

/** Appends lines as far as they fit. `fresh` names jobs that are known to have no history yet. */
export async function addLines(transaction: Transaction, lines: readonly Line[], fresh?: ReadonlySet<number>): Promise<void> {
  if (lines.length === 0) return;
  const rooms = new Map<number, Room>();
  const jobs = [...new Set(lines.map(({ job }) => job))].filter((job) => fresh?.has(job) !== true);
  for (const { job, lines: count, chars } of await transaction.allOf<{ job: number; lines: number; chars: number }>(COUNT, jobs))
    rooms.set(job, new Room(count, chars));
  const newlyFull = new Map<number, number>();
  const fitting = lines.filter((line) => {
    const room = rooms.get(line.job) ?? new Room(0, 0);
    rooms.set(line.job, room);
    const fits = room.take(line);
    if (!fits) newlyFull.set(line.job, line.at);
    return fits;
  });
  for (const { job } of await transaction.allOf<{ job: number }>(MARKED_FULL, [...newlyFull.keys()], [FULL])) newlyFull.delete(job);
  const all = [...fitting, ...[...newlyFull].map(([job, at]): Line => ({ job, at, kind: 'log', body: FULL, last: true }))];
  if (all.length === 0) return;
  let seq = await transaction.draw('history', all.length);
  for (const piece of pieces(all)) {
    const list = padded(piece.map(({ job, at, kind, body }) => [seq++, job, at, kind, body]));
    await transaction.run(ADD(list.length), list.flat());
  }
}

/** The remaining room in the history of one job. */
class Room {
  #lines: number;
  #chars: number;

  constructor(lines: number, chars: number) {
    this.#lines = lines;
    this.#chars = chars;
  }

  take({ last, body }: Line): boolean {
    const [maxLines, maxChars] = last ? [MAX_LINES + END_LINES, MAX_HISTORY_CHARS + END_CHARS] : [MAX_LINES, MAX_HISTORY_CHARS];
    if (this.#lines >= maxLines || this.#chars + body.length > maxChars) return false;
    this.#lines += 1;
    this.#chars += body.length;
    return true;
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
