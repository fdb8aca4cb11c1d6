import { PeerworkError } from '../errors.js';
import { checkJobField } from '../job/job-input.js';
import { check, flag, integer } from '../job/kinds.js';
import { MAX_DELAY_MS } from '../job/limits.js';
import type { Value } from './driver.js';
import { getGroup } from './list.js';
import type { GroupInput, GroupRecord } from './records.js';
import { groupsNamed } from './rows-by-name.js';
import type { Transaction } from './transaction.js';

const LOCK = 'SELECT seq FROM grp WHERE id = ? FOR UPDATE';
const ID_OF = 'SELECT id FROM grp WHERE seq = ?';

/** Locks a group and returns its number; undefined if there is none. */
export async function lockGroup(transaction: Transaction, id: string): Promise<number | undefined> {
  const [row] = await transaction.all<{ seq: number }>(LOCK, [id]);
  return row?.seq;
}

/** Creates or changes a group. Throws `group-invalid`. */
export async function putGroup(transaction: Transaction, input: GroupInput, now: number): Promise<GroupRecord> {
  const columns = checkedGroup(input);
  const seq = (await groupsNamed(transaction, [input.id], now)).get(input.id) ?? 0;
  for (const [column, value] of columns) await transaction.run(`UPDATE grp SET ${column} = ? WHERE seq = ?`, [value, seq]);
  transaction.touched('group', input.id);
  if (input.paused !== undefined) await setPaused(transaction, seq, input.paused);
  const record = await getGroup(transaction, input.id);
  if (record === undefined) throw new Error('a group that was made is not there');
  return record;
}

function checkedGroup(input: GroupInput): Map<string, Value> {
  const columns = new Map<string, Value>();
  try {
    checkJobField('id', input.id);
    const { name, parentFailure, retainMs, meta, paused } = input;
    if (paused !== undefined) check(flag, paused, 'paused');
    if (name !== undefined) columns.set('name', checkJobField('name', name));
    if (parentFailure !== undefined) columns.set('parent_failure', checkJobField('parentFailure', parentFailure));
    if (retainMs !== undefined) columns.set('retain_ms', retainMs === null ? null : check(integer(0, MAX_DELAY_MS), retainMs, 'retainMs'));
    if (meta !== undefined) columns.set('meta', checkJobField('meta', meta));
  } catch (thrown) {
    throw thrown instanceof PeerworkError ? new PeerworkError('group-invalid', thrown.detail) : thrown;
  }
  return columns;
}

const PAUSE = 'UPDATE grp SET paused = 1, resuming = 0 WHERE seq = ?';
/** The parked jobs of the group are released in chunks. */
const RESUME = 'UPDATE grp SET paused = 0, resuming = 1 WHERE seq = ? AND (paused = 1 OR resuming = 1)';

/** Pauses or resumes a locked group. */
export async function setPaused(transaction: Transaction, seq: number, paused: boolean): Promise<void> {
  await transaction.run(paused ? PAUSE : RESUME, [seq]);
  if (!paused) {
    transaction.freed();
    await release(transaction, seq);
  }
  const [row] = await transaction.all<{ id: string }>(ID_OF, [seq]);
  if (row !== undefined) transaction.touched('group', row.id);
}

/** Parked jobs that one call releases. */
const MAX_RELEASED = 1_000;
const RESUMING = 'SELECT seq FROM grp WHERE resuming = 1 ORDER BY seq LIMIT 20 FOR UPDATE';
const RELEASE = `UPDATE job SET parked = NULL WHERE seq IN (SELECT seq FROM job WHERE grp = ? AND parked = 'group'
  ORDER BY priority DESC, seq LIMIT ? FOR UPDATE SKIP LOCKED)`;
const PARKED = `SELECT seq FROM job WHERE grp = ? AND parked = 'group' LIMIT 1`;
const RESUMED = 'UPDATE grp SET resuming = 0 WHERE seq = ?';

/** Releases more of the parked jobs of resumed groups. Returns whether any remain. */
export async function continueResuming(transaction: Transaction): Promise<boolean> {
  let more = false;
  for (const { seq } of await transaction.all<{ seq: number }>(RESUMING)) more = !(await release(transaction, seq)) || more;
  return more;
}

/** Returns whether no parked jobs remain. */
async function release(transaction: Transaction, seq: number): Promise<boolean> {
  if ((await transaction.run(RELEASE, [seq, MAX_RELEASED])) > 0) transaction.freed();
  const [parked] = await transaction.all(PARKED, [seq]);
  if (parked !== undefined) return false;
  await transaction.run(RESUMED, [seq]);
  return true;
}

/** Deletes the row of a group that has no jobs. */
export async function deleteGroupRow(transaction: Transaction, id: string): Promise<void> {
  const seq = await lockGroup(transaction, id);
  if (seq === undefined) return;
  transaction.rememberGroupId(seq, id);
  await transaction.run('DELETE FROM grp_tally WHERE grp = ?', [seq]);
  await transaction.run('DELETE FROM grp WHERE seq = ?', [seq]);
  transaction.touched('group', id);
}
