import type { Value } from './driver.js';
import { RUN_COLUMNS, type RunRow } from './job-row.js';
import type { RedriveFilter } from './records.js';
import type { Transaction } from './transaction.js';

/** Returns, locked, the oldest failed (or cancelled) jobs that match the filter and were settled up to the given number. */
export async function endedRows(
  transaction: Transaction,
  { channel, group, workgroup, state = 'failed' }: RedriveFilter,
  settledUpTo: number,
  limit: number,
): Promise<RunRow[]> {
  // The state is part of the statement because its index is partial.
  const conditions = [`job.state = '${state}'`, 'job.settled_seq <= ?'];
  const values: Value[] = [settledUpTo];
  const where = (condition: string, value: string | undefined) => {
    if (value === undefined) return;
    conditions.push(condition);
    values.push(value);
  };
  where('job.channel = ?', channel);
  where('job.grp = (SELECT seq FROM grp WHERE id = ?)', group);
  where('job.workgroup = (SELECT seq FROM workgroup WHERE id = ?)', workgroup);
  return transaction.all<RunRow>(`SELECT ${RUN_COLUMNS} FROM job WHERE ${conditions.join(' AND ')} ORDER BY job.seq LIMIT ? FOR UPDATE`, [
    ...values,
    limit,
  ]);
}

const OF_GROUP = `SELECT ${RUN_COLUMNS} FROM job WHERE job.grp = ? ORDER BY job.seq LIMIT ? FOR UPDATE`;
/** Youngest first: children are usually younger than their parents, and must not end because of them. */
const UNFINISHED = `SELECT job.id FROM job WHERE job.grp = ? AND job.state IN ('blocked', 'ready', 'leased') ORDER BY job.seq DESC LIMIT ? FOR UPDATE`;
const ALL_OF_GROUP = `SELECT ${RUN_COLUMNS}, job.seed FROM job WHERE job.grp = ? ORDER BY job.seq FOR UPDATE`;

export function someOfGroup(transaction: Transaction, grp: number, limit: number): Promise<RunRow[]> {
  return transaction.all<RunRow>(OF_GROUP, [grp, limit]);
}

export async function unfinishedOfGroup(transaction: Transaction, grp: number, limit: number): Promise<string[]> {
  return (await transaction.all<{ id: string }>(UNFINISHED, [grp, limit])).map(({ id }) => id);
}

export function allOfGroup(transaction: Transaction, grp: number): Promise<(RunRow & { readonly seed: 0 | 1 })[]> {
  return transaction.all(ALL_OF_GROUP, [grp]);
}
