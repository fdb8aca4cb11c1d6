import type { SettleAnswer, Settlement } from '../job/verbs.js';
import { type Completed, completeRuns } from './complete.js';
import { RUN_COLUMNS, type RunRow } from './job-row.js';
import { padded, pieces, repeated, sized } from './lists.js';
import { endByOutcome, type RunEnd, writeEnds } from './run-end.js';
import type { Transaction } from './transaction.js';

/** In the order of `seq`: two transactions that lock the same jobs cannot wait for each other. */
const READ = sized((count) => `SELECT ${RUN_COLUMNS} FROM job WHERE id IN (${repeated('?', count)}) ORDER BY seq FOR UPDATE`);

/** The jobs with these ids, locked until the end of the transaction. */
export async function readRuns(transaction: Transaction, ids: readonly string[]): Promise<Map<string, RunRow>> {
  const runs = new Map<string, RunRow>();
  for (const piece of pieces(ids)) {
    const list = padded(piece);
    for (const row of await transaction.all<RunRow>(READ(list.length), list)) runs.set(row.id, row);
  }
  return runs;
}

/** The fence: a run may be settled, once, by the worker and under the lease number that it is leased with now. */
export async function settleRuns(
  transaction: Transaction,
  worker: number,
  settlements: readonly Settlement[],
  now: number,
  random: () => number,
): Promise<SettleAnswer[]> {
  const answers: SettleAnswer[] = [];
  let waiting = [...settlements.entries()];
  while (waiting.length > 0) {
    // A job named twice is settled in rounds: what its first settlement did decides about the second.
    const round = new Map<string, readonly [number, Settlement]>();
    const later: typeof waiting = [];
    for (const entry of waiting) {
      if (round.has(entry[1].id)) later.push(entry);
      else round.set(entry[1].id, entry);
    }
    const entries = [...round.values()];
    const completed = entries.filter(isCompleted);
    const others = entries.filter((entry) => !isCompleted(entry));
    if (completed.length > 0) await settleCompleted(transaction, worker, completed, now, answers);
    if (others.length > 0) await settleOthers(transaction, worker, others, now, random, answers);
    waiting = later;
  }
  return answers;
}

type Entry<S extends Settlement = Settlement> = readonly [index: number, settlement: S];

function isCompleted(entry: Entry): entry is Entry<Completed> {
  return entry[1].outcome.state === 'completed';
}

async function settleCompleted(
  transaction: Transaction,
  worker: number,
  entries: readonly Entry<Completed>[],
  now: number,
  answers: SettleAnswer[],
): Promise<void> {
  const settlements = entries.map((entry) => entry[1]);
  const { changed, firstSeq } = await completeRuns(transaction, worker, settlements, now);
  const runs = changed === entries.length ? undefined : await readRuns(transaction, settlements.map(idOf));
  for (const [place, [index, settlement]] of entries.entries()) {
    const row = runs?.get(settlement.id);
    answers[index] = runs === undefined || row?.settled_seq === firstSeq + place ? 'settled' : refusal(row, settlement, worker);
  }
}

async function settleOthers(
  transaction: Transaction,
  worker: number,
  entries: readonly Entry[],
  now: number,
  random: () => number,
  answers: SettleAnswer[],
): Promise<void> {
  const runs = await readRuns(
    transaction,
    entries.map((entry) => idOf(entry[1])),
  );
  const ends: RunEnd[] = [];
  for (const [index, settlement] of entries) {
    const { outcome } = settlement;
    const row = runs.get(settlement.id);
    const holds = row !== undefined && row.state === 'leased' && row.lease === settlement.lease && row.worker === worker;
    answers[index] = holds ? 'settled' : refusal(row, settlement, worker);
    if (holds && outcome.state !== 'completed') ends.push(endByOutcome(row, outcome, settlement, now, random));
  }
  await writeEnds(transaction, ends);
}

function idOf(settlement: Settlement): string {
  return settlement.id;
}

function refusal(row: RunRow | undefined, settlement: Settlement, worker: number): SettleAnswer {
  const again = row !== undefined && row.worker === worker && row.lease === settlement.lease && row.settled_lease === row.lease;
  return again ? 'duplicate' : 'stale';
}
