import { RUN_COLUMNS, type RunRow } from './job-row.js';
import { repeated, sized } from './lists.js';
import type { Transaction } from './transaction.js';

/** Ordered by `seq`, so that two transactions that lock the same jobs cannot deadlock. */
const READ = sized((count) => `SELECT ${RUN_COLUMNS} FROM job WHERE job.id IN (${repeated('?', count)}) ORDER BY job.seq FOR UPDATE`);

/** Reads the jobs with these ids by id, locked until the end of the transaction. */
export async function readRuns(transaction: Transaction, ids: readonly string[]): Promise<Map<string, RunRow>> {
  return new Map((await transaction.allOf<RunRow>(READ, ids)).map((row) => [row.id, row]));
}
