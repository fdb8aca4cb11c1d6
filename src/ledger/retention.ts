import { deleteRows } from './delete.js';
import { deleteGroupRow } from './groups.js';
import { RUN_COLUMNS, type RunRow } from './job-row.js';
import { repeated, sized } from './lists.js';
import type { Retention } from './records.js';
import type { Transaction } from './transaction.js';

/** Keeps what an unfinished child needs, and what belongs to a group with its own retention. */
const PAST_RETENTION = `SELECT ${RUN_COLUMNS} FROM job WHERE job.state = ? AND job.finished_at IS NOT NULL AND job.finished_at <= ?
  AND NOT EXISTS (SELECT 1 FROM grp WHERE grp.seq = job.grp AND grp.retain_ms IS NOT NULL)
  AND NOT EXISTS (SELECT 1 FROM edge JOIN job AS child ON child.seq = edge.child WHERE edge.parent = job.seq AND child.finished_at IS NULL)
  ORDER BY job.finished_at LIMIT ? FOR UPDATE SKIP LOCKED`;
/** The job added last has usually ended last: it shows that the group is too young without reading all of them. */
const LAST_ENDED = (state: string) =>
  `COALESCE((SELECT job.finished_at FROM job WHERE job.grp = grp.seq AND job.state = '${state}' ORDER BY job.seq DESC LIMIT 1), 0)`;
const EXPIRED_GROUPS = `SELECT seq, id FROM grp WHERE retain_ms IS NOT NULL
  AND EXISTS (SELECT 1 FROM job WHERE job.grp = grp.seq)
  AND NOT EXISTS (SELECT 1 FROM job WHERE job.grp = grp.seq AND job.state IN ('blocked', 'ready', 'leased'))
  AND ${['completed', 'failed', 'cancelled'].map((state) => `${LAST_ENDED(state)} <= CAST(? AS INTEGER) - grp.retain_ms`).join(' AND ')}
  AND NOT EXISTS (SELECT 1 FROM job WHERE job.grp = grp.seq AND job.finished_at > CAST(? AS INTEGER) - grp.retain_ms)
  AND NOT EXISTS (SELECT 1 FROM job JOIN edge ON edge.parent = job.seq JOIN job AS child ON child.seq = edge.child
    WHERE job.grp = grp.seq AND child.finished_at IS NULL)
  ORDER BY seq LIMIT 1 FOR UPDATE SKIP LOCKED`;
const ENDED_OF_GROUP = `SELECT ${RUN_COLUMNS} FROM job WHERE job.grp = ? AND job.state IN ('completed', 'failed', 'cancelled')
  LIMIT ? FOR UPDATE SKIP LOCKED`;
const NEEDED = sized(
  (count) => `SELECT DISTINCT edge.parent AS seq FROM edge JOIN job AS child ON child.seq = edge.child
  WHERE edge.parent IN (${repeated('?', count)}) AND child.finished_at IS NULL`,
);
const ANY_OF_GROUP = 'SELECT seq FROM job WHERE grp = ? LIMIT 1';

/** Deletes at most `limit` jobs whose retention has passed, and groups along with their last job. Returns the number of jobs. */
export async function purge(transaction: Transaction, retention: Retention, now: number, limit: number): Promise<number> {
  let purged = 0;
  const { completedMs, failedMs, cancelledMs } = retention;
  for (const [state, keptMs] of Object.entries({ completed: completedMs, failed: failedMs, cancelled: cancelledMs })) {
    if (keptMs === undefined || purged >= limit) continue;
    purged += await deleteUnneeded(transaction, await transaction.all<RunRow>(PAST_RETENTION, [state, now - keptMs, limit - purged]));
  }
  return purged >= limit ? purged : purged + (await purgeGroup(transaction, now, limit - purged));
}

/** Deletes part of one group. Its row is locked so that no job joins meanwhile; a group with a job that was just retried is kept. */
async function purgeGroup(transaction: Transaction, now: number, limit: number): Promise<number> {
  const [group] = await transaction.all<{ seq: number; id: string }>(EXPIRED_GROUPS, [now, now, now, now]);
  if (group === undefined) return 0;
  transaction.rememberGroupId(group.seq, group.id);
  const purged = await deleteUnneeded(transaction, await transaction.all<RunRow>(ENDED_OF_GROUP, [group.seq, limit]));
  if ((await transaction.all(ANY_OF_GROUP, [group.seq])).length === 0) await deleteGroupRow(transaction, group.id);
  return purged;
}

/** The rows are locked now; a child may have been added since they were selected, so check again. */
async function deleteUnneeded(transaction: Transaction, rows: readonly RunRow[]): Promise<number> {
  const seqs = rows.map(({ seq }) => seq);
  const needed = new Set((await transaction.allOf<{ seq: number }>(NEEDED, seqs)).map(({ seq }) => seq));
  const unneeded = rows.filter(({ seq }) => !needed.has(seq));
  await deleteRows(transaction, unneeded);
  return unneeded.length;
}
