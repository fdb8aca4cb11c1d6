import { deleteRows } from './delete-rows.js';
import { deleteGroupRow } from './groups.js';
import { RUN_COLUMNS, type RunRow } from './job-row.js';
import type { Retention } from './ledger.js';
import type { Transaction } from './transaction.js';

/** What an unfinished child needs stays, and what belongs to a group that has a retention of its own. */
const OUTLIVED = `SELECT ${RUN_COLUMNS} FROM job WHERE job.state = ? AND job.finished_at IS NOT NULL AND job.finished_at <= ?
  AND NOT EXISTS (SELECT 1 FROM grp WHERE grp.seq = job.grp AND grp.retain_ms IS NOT NULL)
  AND NOT EXISTS (SELECT 1 FROM edge JOIN job AS child ON child.seq = edge.child WHERE edge.parent = job.seq AND child.finished_at IS NULL)
  ORDER BY job.finished_at LIMIT ? FOR UPDATE SKIP LOCKED`;
const KEPT_GROUPS = `SELECT seq, id, retain_ms FROM grp WHERE retain_ms IS NOT NULL
  AND EXISTS (SELECT 1 FROM job WHERE job.grp = grp.seq)
  AND NOT EXISTS (SELECT 1 FROM job WHERE job.grp = grp.seq AND job.state IN ('blocked', 'ready', 'leased'))
  AND NOT EXISTS (SELECT 1 FROM job WHERE job.grp = grp.seq AND job.finished_at > CAST(? AS INTEGER) - grp.retain_ms)
  ORDER BY seq LIMIT 1`;
const OF_GROUP = `SELECT ${RUN_COLUMNS} FROM job WHERE job.grp = ? ORDER BY job.seq LIMIT ? FOR UPDATE SKIP LOCKED`;

/** Deletes at most `limit` jobs that were kept long enough, and groups with the last of their jobs; answers how many jobs. */
export async function purge(transaction: Transaction, retention: Retention, now: number, limit: number): Promise<number> {
  let purged = 0;
  const { completedMs, failedMs, cancelledMs } = retention;
  for (const [state, keptMs] of Object.entries({ completed: completedMs, failed: failedMs, cancelled: cancelledMs })) {
    if (keptMs === undefined || purged >= limit) continue;
    const rows = await transaction.all<RunRow>(OUTLIVED, [state, now - keptMs, limit - purged]);
    await deleteRows(transaction, rows);
    purged += rows.length;
  }
  if (purged >= limit) return purged;
  const [group] = await transaction.all<{ seq: number; id: string }>(KEPT_GROUPS, [now]);
  if (group === undefined) return purged;
  const rows = await transaction.all<RunRow>(OF_GROUP, [group.seq, limit - purged]);
  transaction.named(group.seq, group.id);
  await deleteRows(transaction, rows);
  purged += rows.length;
  if (purged < limit) await deleteGroupRow(transaction, group.id);
  return purged;
}
