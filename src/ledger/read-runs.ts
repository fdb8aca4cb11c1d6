import { RUN_COLUMNS, type RunRow } from './job-row.js';
import { repeated, sized } from './lists.js';
import type { Transaction } from './transaction.js';

const BY_SEQ = (count: number) => `SELECT ${RUN_COLUMNS} FROM job WHERE job.seq IN (${repeated('?', count)})`;
/** Ordered by `seq`, so that two transactions that lock the same jobs cannot deadlock. */
const LOCK_BY_ID = sized((count) => `SELECT ${RUN_COLUMNS} FROM job WHERE job.id IN (${repeated('?', count)}) ORDER BY job.seq FOR UPDATE`);
const LOCK_BY_SEQ = sized((count) => `${BY_SEQ(count)} ORDER BY job.seq FOR UPDATE`);
const READ_BY_SEQ = sized(BY_SEQ);

/** Reads the jobs with these ids by id, locked until the end of the transaction. */
export async function readRuns(transaction: Transaction, ids: readonly string[]): Promise<Map<string, RunRow>> {
  return new Map((await transaction.allOf<RunRow>(LOCK_BY_ID, ids)).map((row) => [row.id, row]));
}

/** Reads the jobs with these numbers, locked until the end of the transaction. */
export function lockRunsBySeq(transaction: Transaction, seqs: readonly number[]): Promise<RunRow[]> {
  return transaction.allOf<RunRow>(LOCK_BY_SEQ, seqs);
}

/** Reads the jobs with these numbers, which this transaction added or has locked. */
export function readRunsBySeq(transaction: Transaction, seqs: readonly number[]): Promise<RunRow[]> {
  return transaction.allOf<RunRow>(READ_BY_SEQ, seqs);
}
