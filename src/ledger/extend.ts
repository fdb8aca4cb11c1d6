import { MAX_WAIT_MS } from '../job/limits.js';
import type { LeaseKey } from '../job/verbs.js';
import { padded, pieces, repeated, sized } from './lists.js';
import type { Operations } from './operations.js';
import { readRuns } from './read-runs.js';
import type { WorkerRef } from './records.js';
import type { Paused } from './requests.js';
import { resumeRuns } from './resume.js';
import { LIMIT, leaseEnd } from './run-time.js';
import type { Transaction } from './transaction.js';

const UNTIL = leaseEnd('COALESCE(begun_at, started_at)');
const RENEW = sized((count) => `UPDATE job SET lease_until = ${UNTIL} WHERE seq IN (${repeated('?', count)})`);
const HOLDS = sized((count) => `SELECT id, lease FROM job WHERE id IN (${repeated('?', count)}) AND state = 'leased' AND worker = ?`);
/** A run that has waited for longer than MAX_WAIT_MS counts as begun. */
const WAITS = sized((count) => `UPDATE job SET begun_at = ? WHERE started_at > ? AND seq IN (${repeated('?', count)})`);
/** An outcome may be in transit for up to MAX_WAIT_MS past the run's time limit. */
const ENDED = sized((count) => `UPDATE job SET begun_at = ? WHERE started_at + ${LIMIT} > ? AND seq IN (${repeated('?', count)})`);

export function extendInChunks(
  operations: Operations,
  worker: WorkerRef,
  leases: readonly LeaseKey[],
  until: number,
  now: number,
  paused?: Paused,
): Promise<LeaseKey[]> {
  return operations.ofWorker(worker, leases, (transaction, seq, chunk) =>
    extendLeases(transaction, seq, chunk, transaction.at(until), transaction.at(now), paused),
  );
}

export function lostInChunks(operations: Operations, worker: WorkerRef, leases: readonly LeaseKey[]): Promise<LeaseKey[]> {
  return operations.ofWorker(worker, leases, lostLeases);
}

/**
 * Renews the leases that the worker holds, never past the runs' time limits; returns those it does not hold. An expired lease is renewed
 * too, as long as nobody else has the job.
 */
async function extendLeases(
  transaction: Transaction,
  worker: number,
  leases: readonly LeaseKey[],
  until: number,
  now: number,
  paused?: Paused,
): Promise<LeaseKey[]> {
  const runs = await readRuns(
    transaction,
    leases.map((lease) => lease.id),
  );
  const lost: LeaseKey[] = [];
  const held: number[] = [];
  const idOf = new Map<number, string>();
  const named = leases.flatMap(({ id, lease }) => {
    const row = runs.get(id);
    return row?.lease === lease && row.worker === worker ? [row] : [];
  });
  const resumed = await resumeRuns(transaction, named, until, now);
  for (const lease of leases) {
    const row = runs.get(lease.id);
    if (row !== undefined && resumed.has(row.seq)) continue;
    if (row !== undefined && row.state === 'leased' && row.lease === lease.lease && row.worker === worker) {
      held.push(row.seq);
      idOf.set(row.seq, row.id);
    } else lost.push({ id: lease.id, lease: lease.lease });
  }
  if (paused !== undefined) {
    const { leases: waiting, ended = [] } = paused;
    for (const [statement, keys] of [
      [WAITS, waiting],
      [ENDED, ended],
    ] as const) {
      if (keys.length === 0) continue;
      const names = new Set(keys.map(({ id }) => id));
      const seqs = held.filter((seq) => names.has(idOf.get(seq) ?? ''));
      await transaction.runOf(statement, seqs, [now, now - MAX_WAIT_MS]);
    }
  }
  await renewLeases(transaction, held, until);
  return lost;
}

/** Returns the leases that do not belong to the worker. */
async function lostLeases(transaction: Transaction, worker: number, leases: readonly LeaseKey[]): Promise<LeaseKey[]> {
  const rows = await transaction.allOf<{ id: string; lease: number }>(
    HOLDS,
    leases.map(({ id }) => id),
    [worker],
  );
  const held = new Map(rows.map(({ id, lease }) => [id, lease]));
  return leases.filter(({ id, lease }) => held.get(id) !== lease).map(({ id, lease }) => ({ id, lease }));
}

export async function renewLeases(transaction: Transaction, seqs: readonly number[], until: number): Promise<void> {
  for (const piece of pieces(seqs)) {
    const list = padded(piece);
    await transaction.run(RENEW(list.length), [until, until, ...list]);
  }
}
