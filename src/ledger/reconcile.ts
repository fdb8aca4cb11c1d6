import type { LeaseKey } from '../job/verbs.js';
import { endRuns } from './end-runs.js';
import { renewLeases } from './extend.js';
import { RUN_COLUMNS, type RunRow } from './job-row.js';
import type { Operations } from './operations.js';
import { readRuns } from './read-runs.js';
import type { WorkerRef } from './records.js';
import { resumeRuns } from './resume.js';
import { endByLoss, endUnrun, type RunEnd } from './run-end.js';
import type { Transaction } from './transaction.js';

const HELD = `SELECT ${RUN_COLUMNS} FROM job WHERE state = 'leased' AND worker = ? ORDER BY seq FOR UPDATE`;

export function reconcileAll(
  operations: Operations,
  worker: WorkerRef,
  holding: readonly LeaseKey[],
  until: number,
  charge: boolean,
  now: number,
): Promise<LeaseKey[]> {
  return operations.run(holding.length, async (transaction) => {
    const seq = await operations.workers.seqOf(transaction, worker);
    return reconcileLeases(transaction, seq, holding, transaction.at(until), charge, transaction.at(now));
  });
}

async function reconcileLeases(
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
  const runs = await readRuns(
    transaction,
    [...claimed.values()].map(({ id }) => id),
  );
  const named = [...runs.values()].filter((row) => row.worker === worker && claimed.has(`${row.lease} ${row.id}`));
  const resumed = await resumeRuns(transaction, named, until, now);
  for (const row of named) if (resumed.has(row.seq)) claimed.delete(`${row.lease} ${row.id}`);
  return [...claimed.values()].map(({ id, lease }) => ({ id, lease }));
}
