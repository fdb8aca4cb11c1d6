import { repeated, sized } from './lists.js';
import type { WorkerRecord, WorkerRef } from './records.js';
import type { WorkerMarks } from './requests.js';
import type { Transaction } from './transaction.js';
import type { WorkerBook } from './worker-book.js';

interface WorkerRow {
  readonly id: string;
  readonly name: string;
  readonly approved_at: number | null;
  readonly revoked_at: number | null;
  readonly drained_at: number | null;
}

const COLUMNS = 'id, name, approved_at, revoked_at, drained_at';
const LIST = `SELECT ${COLUMNS} FROM worker ORDER BY seq`;
const GET = `SELECT ${COLUMNS} FROM worker WHERE id = ?`;

/** Columns of the marks. Setting a mark that is already set keeps its earlier instant. */
const columns = { approved: 'approved_at', revoked: 'revoked_at', drained: 'drained_at' } as const;

export async function listWorkers(transaction: Transaction): Promise<WorkerRecord[]> {
  return (await transaction.all<WorkerRow>(LIST)).map(workerRecord);
}

const LEASED = sized(
  (count) =>
    `SELECT COUNT(*) AS jobs FROM job JOIN worker ON worker.seq = job.worker WHERE job.state = 'leased' AND worker.id IN (${repeated('?', count)})`,
);

export async function countLeased(transaction: Transaction, workers: readonly string[]): Promise<number> {
  const counts = await transaction.allOf<{ jobs: number }>(LEASED, workers);
  return counts.reduce((sum, { jobs }) => sum + jobs, 0);
}

export async function getWorker(transaction: Transaction, id: string): Promise<WorkerRecord | undefined> {
  return (await transaction.all<WorkerRow>(GET, [id])).map(workerRecord)[0];
}

/** Sets or clears marks of a worker; registers it if it is unknown. */
export async function markWorker(
  transaction: Transaction,
  workers: WorkerBook,
  worker: WorkerRef,
  marks: WorkerMarks,
  now: number,
): Promise<WorkerRecord> {
  await workers.seqOf(transaction, worker);
  const { id } = worker;
  for (const mark of ['approved', 'revoked', 'drained'] as const) {
    const set = marks[mark];
    if (set === undefined) continue;
    const column = columns[mark];
    if (set) await transaction.run(`UPDATE worker SET ${column} = COALESCE(${column}, ?) WHERE id = ?`, [now, id]);
    else await transaction.run(`UPDATE worker SET ${column} = NULL WHERE id = ?`, [id]);
  }
  transaction.touched('worker', id);
  const record = await getWorker(transaction, id);
  if (record === undefined) throw new Error('a worker that was entered is not there');
  return record;
}

function workerRecord({ id, name, approved_at, revoked_at, drained_at }: WorkerRow): WorkerRecord {
  return {
    id,
    name,
    ...(approved_at !== null && { approvedAt: approved_at }),
    ...(revoked_at !== null && { revokedAt: revoked_at }),
    ...(drained_at !== null && { drainedAt: drained_at }),
  };
}
