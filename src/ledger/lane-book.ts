import { labelsOf } from '../job/kinds.js';
import { repeated, sized } from './lists.js';
import type { Transaction } from './transaction.js';

const FIND = 'SELECT seq FROM lane WHERE channel = ? AND requires = ?';
const INSERT = 'INSERT INTO lane (seq, channel, requires) VALUES (?, ?, ?) ON CONFLICT (channel, requires) DO NOTHING';
const OF_CHANNELS = sized((count) => `SELECT seq, requires FROM lane WHERE channel IN (${repeated('?', count)}) ORDER BY seq`);
/** Prefix of the keys under which `lanesFor` caches within a transaction. */
const LANES = 'lanes ';

/** Bounded because a key has up to 4,000 characters. */
const MAX_KNOWN = 10_000;

/** Numbers of lanes. A lane is the jobs of one channel that require the same labels. Lanes are never deleted, so known ones are cached. */
export class LaneBook {
  readonly #known = new Map<string, number>();

  /** Returns the number of a lane; creates it if it is new. `requires` is a `labelSet`. */
  async seqOf(transaction: Transaction, channel: string, requires: string): Promise<number> {
    const key = `${channel}\n${requires}`;
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    let [row] = await transaction.all<{ seq: number }>(FIND, [channel, requires]);
    if (row === undefined) {
      await transaction.run(INSERT, [await transaction.draw('lane', 1), channel, requires]);
      // A claim later in this transaction must see it.
      for (const cached of [...transaction.cache.keys()]) if (cached.startsWith(LANES)) transaction.cache.delete(cached);
      [row] = await transaction.all<{ seq: number }>(FIND, [channel, requires]);
    }
    if (row === undefined) throw new Error('a lane that was entered is not there');
    if (this.#known.size >= MAX_KNOWN) this.#known.clear();
    this.#known.set(key, row.seq);
    return row.seq;
  }

  /** Called after a rollback: lanes created in that transaction do not exist. */
  forget(): void {
    this.#known.clear();
  }
}

/** Returns the lanes of these channels whose jobs a worker with these labels may run. */
export async function lanesFor(
  transaction: Transaction,
  channels: readonly string[],
  labels: readonly string[],
): Promise<readonly number[]> {
  const key = `${LANES}${JSON.stringify([channels, labels])}`;
  const cached = transaction.cache.get(key) as readonly number[] | undefined;
  if (cached !== undefined) return cached;
  const rows = await transaction.allOf<{ seq: number; requires: string }>(OF_CHANNELS, [...new Set(channels)]);
  const has = new Set(labels);
  const lanes = rows.filter(({ requires }) => labelsOf(requires).every((label) => has.has(label))).map(({ seq }) => seq);
  transaction.cache.set(key, lanes);
  return lanes;
}
