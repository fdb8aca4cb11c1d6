import { padded, pieces, repeated, sized } from './lists.js';
import type { Transaction } from './transaction.js';
import { type SlotBudget, slotBudgetsOf, useSlots } from './workgroups.js';

/** The columns that decide whether a ready job may start. */
export interface Candidate {
  readonly seq: number;
  readonly channel: string;
  readonly grp: number | null;
  readonly workgroup: number | null;
  readonly merge_key: string | null;
}

const PAUSED = sized((count) => `SELECT seq FROM grp WHERE paused = 1 AND seq IN (${repeated('?', count)})`);
const LOCK_PAUSED = sized((count) => `${PAUSED(count)} ORDER BY seq FOR UPDATE`);
const RUNNING = sized(
  (count) => `SELECT channel, merge_key FROM job WHERE state = 'leased' AND merge_key IS NOT NULL AND merge_key IN (${repeated('?', count)})
  AND channel = ?`,
);
/** Skips runs that another transaction is ending: their duplicates must not be parked behind them. */
const LOCK_RUNNING = sized((count) => `${RUNNING(count)} ORDER BY seq FOR UPDATE SKIP LOCKED`);
const PARK = sized((count) => `UPDATE job SET parked = ? WHERE seq IN (${repeated('?', count)})`);

type Reason = 'group' | 'workgroup' | 'twin';

/**
 * Decides which of these locked jobs may start. The others are parked, that is taken out of the index of ready jobs, until what blocks them
 * ends. A parked job depends on being released later, so whatever blocks it is locked and checked again before the job is parked.
 */
export async function admit<C extends Candidate>(
  transaction: Transaction,
  candidates: readonly C[],
  now: number,
): Promise<{ readonly admitted: C[]; readonly parked: number }> {
  const paused = await pausedGroups(transaction, candidates);
  const keys = await runningKeys(transaction, candidates);
  const workgroups = distinct(candidates.map(({ workgroup }) => workgroup));
  const budgets: Map<number, SlotBudget> = workgroups.length === 0 ? new Map() : await slotBudgetsOf(transaction, workgroups, now);
  const admitted: C[] = [];
  const parked: Record<Reason, C[]> = { group: [], workgroup: [], twin: [] };
  for (const candidate of candidates) {
    const { grp, workgroup, merge_key } = candidate;
    const key = merge_key === null ? undefined : keyOf(candidate);
    const budget = workgroup === null ? undefined : budgets.get(workgroup);
    if (grp !== null && paused.has(grp)) parked.group.push(candidate);
    else if (key !== undefined && keys.running.has(key)) {
      if (keys.locked.has(key)) parked.twin.push(candidate);
    } else if (budget !== undefined && budget.left === 0) parked.workgroup.push(candidate);
    else {
      admitted.push(candidate);
      if (budget !== undefined) {
        budget.left -= 1;
        budget.started += 1;
      }
      if (key !== undefined) {
        keys.running.add(key);
        keys.locked.add(key);
      }
    }
  }
  for (const reason of ['group', 'workgroup', 'twin'] as const)
    for (const piece of pieces(parked[reason].map(({ seq }) => seq))) {
      const list = padded(piece);
      await transaction.run(PARK(list.length), [reason, ...list]);
    }
  await useSlots(transaction, budgets, distinct(parked.workgroup.map(({ workgroup }) => workgroup)), now);
  return { admitted, parked: parked.group.length + parked.workgroup.length + parked.twin.length };
}

async function pausedGroups(transaction: Transaction, candidates: readonly Candidate[]): Promise<ReadonlySet<number>> {
  const groups = distinct(candidates.map(({ grp }) => grp));
  const paused = await transaction.allOf<{ seq: number }>(PAUSED, groups);
  if (paused.length === 0) return new Set();
  const still = await transaction.allOf<{ seq: number }>(
    LOCK_PAUSED,
    paused.map(({ seq }) => seq),
  );
  return new Set(still.map(({ seq }) => seq));
}

/** Returns the keys that have a running job, and among them those whose run cannot end before this transaction does. */
async function runningKeys(transaction: Transaction, candidates: readonly Candidate[]) {
  const running = new Set<string>();
  const locked = new Set<string>();
  const byChannel = new Map<string, Set<string>>();
  for (const { channel, merge_key } of candidates) {
    if (merge_key === null) continue;
    const keys = byChannel.get(channel) ?? new Set();
    byChannel.set(channel, keys.add(merge_key));
  }
  for (const [channel, keys] of byChannel) {
    const found = await transaction.allOf<{ channel: string; merge_key: string }>(RUNNING, [...keys], [channel]);
    for (const row of found) running.add(keyOf(row));
    const names = found.map(({ merge_key }) => merge_key);
    for (const row of await transaction.allOf<{ channel: string; merge_key: string }>(LOCK_RUNNING, names, [channel]))
      locked.add(keyOf(row));
  }
  return { running, locked };
}

function keyOf({ channel, merge_key }: { readonly channel: string; readonly merge_key: string | null }): string {
  return `${channel}\n${merge_key}`;
}

function distinct(numbers: readonly (number | null)[]): number[] {
  return [...new Set(numbers.filter((number) => number !== null))].sort((a, b) => a - b);
}
