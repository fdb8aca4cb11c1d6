import type { LeaseKey } from '../job/verbs.js';
import { padded, pieces, repeated, sized } from './lists.js';
import { readRuns } from './settle.js';
import type { Transaction } from './transaction.js';

const RENEW = sized((count) => `UPDATE job SET lease_until = ? WHERE seq IN (${repeated('?', count)})`);

/** Renews what the worker holds; answers what it does not hold. A lease that ended but was not taken back yet is renewed. */
export async function extendLeases(
  transaction: Transaction,
  worker: number,
  leases: readonly LeaseKey[],
  until: number,
): Promise<LeaseKey[]> {
  const runs = await readRuns(
    transaction,
    leases.map((lease) => lease.id),
  );
  const lost: LeaseKey[] = [];
  const held: number[] = [];
  for (const lease of leases) {
    const row = runs.get(lease.id);
    if (row !== undefined && row.state === 'leased' && row.lease === lease.lease && row.worker === worker) held.push(row.seq);
    else lost.push({ id: lease.id, lease: lease.lease });
  }
  await renewLeases(transaction, held, until);
  return lost;
}

export async function renewLeases(transaction: Transaction, seqs: readonly number[], until: number): Promise<void> {
  for (const piece of pieces(seqs)) {
    const list = padded(piece);
    await transaction.run(RENEW(list.length), [until, ...list]);
  }
}
