import type { Statements, Value } from './driver.js';
import type { CancelledJob, JobState, LedgerChange } from './ledger.js';
import { pieces, repeated, sized } from './lists.js';

// RETURNING costs libsql twice what two statements do.
const DRAW = 'UPDATE counter SET value = value + ? WHERE name = ?';
const DRAWN = 'SELECT value FROM counter WHERE name = ?';
const TALLY = sized(
  (count) => `INSERT INTO tally (channel, state, jobs) VALUES ${repeated('(?, ?, ?)', count)}
  ON CONFLICT (channel, state) DO UPDATE SET jobs = tally.jobs + excluded.jobs`,
);

/** What all operations of one group commit share. */
export class Transaction implements Statements {
  readonly #sql: Statements;
  readonly #moves = new Map<string, Map<JobState, number>>();
  /** Jobs delayed until this instant have been made due already. */
  promotedAt = Number.NEGATIVE_INFINITY;
  /** Runs that were ended from outside. */
  readonly cancelled: CancelledJob[] = [];
  #ready = false;
  #settled = false;

  constructor(sql: Statements) {
    this.#sql = sql;
  }

  get numbers() {
    return this.#sql.numbers;
  }

  all<Row>(sql: string, values?: readonly Value[]): Promise<Row[]> {
    return this.#sql.all<Row>(sql, values);
  }

  run(sql: string, values?: readonly Value[]): Promise<number> {
    return this.#sql.run(sql, values);
  }

  /** Draws `count` consecutive numbers that were never drawn before; answers the first. */
  async draw(counter: 'job' | 'settled' | 'worker', count: number): Promise<number> {
    const drawn = this.#sql.numbers?.draw(counter, count);
    if (drawn !== undefined) return drawn;
    await this.run(DRAW, [count, counter]);
    const [row] = await this.all<{ value: number }>(DRAWN, [counter]);
    if (row === undefined) throw new Error(`the counter ${counter} is missing`);
    return row.value - count + 1;
  }

  /** Notes that `count` jobs changed their state, for `counts`: counting a million rows would take a second. */
  moved(channel: string, from: JobState | undefined, to: JobState, count = 1): void {
    if (to === 'ready') this.#ready = true;
    else if (to !== 'leased' && to !== 'blocked') this.#settled = true;
    if (from === to) return;
    let states = this.#moves.get(channel);
    if (states === undefined) {
      states = new Map();
      this.#moves.set(channel, states);
    }
    if (from !== undefined) states.set(from, (states.get(from) ?? 0) - count);
    states.set(to, (states.get(to) ?? 0) + count);
  }

  /** What others should know of; undefined if it is nothing to them. */
  get change(): LedgerChange | undefined {
    const { cancelled } = this;
    return this.#ready || this.#settled || cancelled.length > 0 ? { ready: this.#ready, settled: this.#settled, cancelled } : undefined;
  }

  /** Writes the tallies: before the commit, and before they are read. In sorted order, so that two transactions cannot wait for each other. */
  async flush(): Promise<void> {
    if (this.#moves.size === 0) return;
    const tuples: [string, JobState, number][] = [];
    for (const [channel, states] of this.#moves) for (const [state, jobs] of states) if (jobs !== 0) tuples.push([channel, state, jobs]);
    this.#moves.clear();
    tuples.sort((a, b) => compare(a[0], b[0]) || compare(a[1], b[1]));
    for (const piece of pieces(tuples)) await this.run(TALLY(piece.length), piece.flat());
  }
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
