import { forgetHistory } from './history.js';
import type { JobState } from './ledger.js';
import { repeated, sized } from './lists.js';
import type { Movable, Transaction } from './transaction.js';

const EDGES_UP = sized((count) => `DELETE FROM edge WHERE child IN (${repeated('?', count)})`);
const EDGES_DOWN = sized((count) => `DELETE FROM edge WHERE parent IN (${repeated('?', count)})`);
const JOBS = sized((count) => `DELETE FROM job WHERE seq IN (${repeated('?', count)})`);

/** Deletes jobs, which are locked, with their edges and histories. That no other job needs them is the caller's to see to. */
export async function deleteRows(
  transaction: Transaction,
  rows: readonly (Movable & { readonly seq: number; readonly state: JobState })[],
): Promise<void> {
  const seqs = rows.map(({ seq }) => seq);
  await transaction.runOf(EDGES_UP, seqs);
  await transaction.runOf(EDGES_DOWN, seqs);
  await forgetHistory(transaction, seqs);
  await transaction.runOf(JOBS, seqs);
  for (const row of rows) transaction.moved(row, row.state, 'deleted');
}
