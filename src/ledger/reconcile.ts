import type { LeaseKey } from '../job/verbs.js';
import { endRuns } from './end-runs.js';
import { renewLeases } from './extend.js';
import { RUN_COLUMNS, type RunRow } from './job-row.js';
import { endByLoss, endUnrun, type RunEnd } from './run-end.js';
import type { Transaction } from './transaction.js';

const HELD = `SELECT ${RUN_COLUMNS} FROM job WHERE state = 'leased' AND worker = ? ORDER BY seq FOR UPDATE`;

export async function reconcileLeases(
  transaction: Transaction,
  worker: number,
  holding: readonly LeaseKey[],
  until: number,
  charge: boolean,
  now: number,
): Promise<LeaseKey[]> {
  const claimed = new Map(holding.map((lease) => [`${lease.lease} ${lease.id}`, lease]));
  const held: number[] = [];
  const ends: RunEnd[] = [];
  for (const row of await transaction.all<RunRow>(HELD, [worker])) {
    if (claimed.delete(`${row.lease} ${row.id}`)) held.push(row.seq);
    else ends.push(charge ? endByLoss(row, 'worker-lost', now) : endUnrun(row));
  }
  await renewLeases(transaction, held, until);
  await endRuns(transaction, ends, now);
  return [...claimed.values()].map(({ id, lease }) => ({ id, lease }));
}
