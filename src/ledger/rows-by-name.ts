import { repeated, sized } from './lists.js';
import type { Counter, Transaction } from './transaction.js';

interface Table {
  readonly counter: Counter;
  readonly kind: 'group' | 'workgroup';
  readonly find: (count: number) => string;
  readonly enter: string;
}

const groups: Table = {
  counter: 'grp',
  kind: 'group',
  find: sized((count) => `SELECT seq, id FROM grp WHERE id IN (${repeated('?', count)}) ORDER BY seq FOR UPDATE`),
  enter: 'INSERT INTO grp (seq, id, created_at) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING',
};
const workgroups: Table = {
  counter: 'workgroup',
  kind: 'workgroup',
  find: sized((count) => `SELECT seq, id FROM workgroup WHERE id IN (${repeated('?', count)})`),
  enter: 'INSERT INTO workgroup (seq, id) VALUES (?, ?) ON CONFLICT (id) DO NOTHING',
};

/**
 * Returns the numbers of these groups and creates missing ones. The rows stay locked until the end of the transaction, so they cannot be
 * deleted.
 */
export function groupsNamed(transaction: Transaction, ids: Iterable<string>, now: number): Promise<Map<string, number>> {
  return idsToSeqs(transaction, groups, ids, [now]);
}

/** Returns the numbers of these workgroups and creates missing ones. Workgroups are never deleted. */
export function workgroupsNamed(transaction: Transaction, ids: Iterable<string>): Promise<Map<string, number>> {
  return idsToSeqs(transaction, workgroups, ids, []);
}

async function idsToSeqs(
  transaction: Transaction,
  table: Table,
  ids: Iterable<string>,
  more: readonly number[],
): Promise<Map<string, number>> {
  const found = new Map<string, number>();
  const wanted = [...new Set(ids)].sort();
  const find = async (names: readonly string[]) => {
    for (const { seq, id } of await transaction.allOf<{ seq: number; id: string }>(table.find, names)) found.set(id, seq);
  };
  if (wanted.length === 0) return found;
  await find(wanted);
  const missing = wanted.filter((id) => !found.has(id));
  if (missing.length === 0) return found;
  let seq = await transaction.draw(table.counter, missing.length);
  for (const id of missing) {
    await transaction.run(table.enter, [seq++, id, ...more]);
    transaction.touched(table.kind, id);
  }
  await find(missing);
  return found;
}
