import type { Numbers, Statements, Value } from './driver.js';
import type { CancelledJob, JobChange, LedgerChange } from './ledger-change.js';
import { padded, pieces, repeated, sized } from './lists.js';
import type { JobState } from './records.js';
import type { WeightColumns } from './weight.js';

// With libsql, RETURNING costs twice as much as two statements.
const DRAW = 'UPDATE counter SET value = value + ? WHERE name = ?';
const DRAWN = 'SELECT value FROM counter WHERE name = ?';
const TALLY = sized(
  (count) => `INSERT INTO tally (channel, state, shard, jobs) VALUES ${repeated('(?, ?, ?, ?)', count)}
  ON CONFLICT (channel, state, shard) DO UPDATE SET jobs = tally.jobs + excluded.jobs`,
);
const GROUP_TALLY = sized(
  (count) => `INSERT INTO grp_tally (grp, state, shard, jobs, weight, weight_part) VALUES ${repeated('(?, ?, ?, ?, ?, ?)', count)}
  ON CONFLICT (grp, state, shard) DO UPDATE SET jobs = grp_tally.jobs + excluded.jobs, weight = grp_tally.weight + excluded.weight,
  weight_part = grp_tally.weight_part + excluded.weight_part`,
);
const GROUP_IDS = sized((count) => `SELECT seq, id FROM grp WHERE seq IN (${repeated('?', count)})`);

export type Counter = 'job' | 'settled' | 'worker' | 'lane' | 'grp' | 'workgroup' | 'schedule' | 'history' | 'shard' | 'file';

/** What reporting a state change needs of a job. `grp` is the number of its group. */
export interface Movable {
  readonly id: string;
  readonly channel: string;
  readonly grp: number | null;
  readonly weight: number;
  readonly weight_part: number;
}

/** Changes that are reported individually. Beyond that, a page that shows jobs reloads them anyway. */
const MAX_CHANGES = 2_000;

type Row = LedgerChange['rows'][number];

/** The transaction that all operations of one group commit share. */
export class Transaction implements Statements {
  readonly #sql: Statements;
  readonly #shard: number;
  readonly #tallies = new Map<string, [channel: string, state: JobState, jobs: number]>();
  readonly #groupTallies = new Map<string, [grp: number, state: JobState, jobs: number, weight: number, part: number]>();
  readonly #changes = new Map<string, { readonly job: Movable; readonly state: JobChange['state']; readonly added: boolean }>();
  readonly #rows = new Map<string, Row>();
  readonly #groupIds = new Map<number, string>();
  /** Values looked up once for all operations of this transaction; keys are chosen by the reader. */
  readonly cache = new Map<string, unknown>();
  /** Jobs delayed until this instant have already been promoted to ready. */
  promotedAt = Number.NEGATIVE_INFINITY;
  /** Runs that were ended by someone other than their worker. */
  readonly cancelled: CancelledJob[] = [];
  #ready = false;
  #settled = false;
  #cut = false;
  #dueAt: number | undefined;

  /** Offset from the callers' time to the ledger's, in ms. */
  offsetMs: number;

  /** `shard` is the number of this opener of the ledger, under which it keeps its own tallies. */
  constructor(sql: Statements, shard = 0, offsetMs = 0) {
    this.#sql = sql;
    this.#shard = shard;
    this.offsetMs = offsetMs;
  }

  /** Converts a caller's instant to the ledger's time. */
  at(now: number): number {
    return now + this.offsetMs;
  }

  get numbers(): Numbers | undefined {
    return this.#sql.numbers;
  }

  all<Row>(sql: string, values?: readonly Value[]): Promise<Row[]> {
    return this.#sql.all<Row>(sql, values);
  }

  run(sql: string, values?: readonly Value[]): Promise<number> {
    return this.#sql.run(sql, values);
  }

  /** Runs a query for a list of any length, in pieces; returns the concatenated rows. */
  async allOf<Row>(statement: (count: number) => string, list: readonly Value[], more: readonly Value[] = []): Promise<Row[]> {
    const rows: Row[] = [];
    for (const piece of pieces(list)) {
      const full = padded(piece);
      rows.push(...(await this.all<Row>(statement(full.length), [...full, ...more])));
    }
    return rows;
  }

  /** Runs an update for a list of any length, in pieces; returns the number of changed rows. */
  async runOf(statement: (count: number) => string, list: readonly Value[], before: readonly Value[] = []): Promise<number> {
    let changed = 0;
    for (const piece of pieces(list)) {
      const full = padded(piece);
      changed += await this.run(statement(full.length), [...before, ...full]);
    }
    return changed;
  }

  /** Draws `count` consecutive numbers that were never drawn before; returns the first. */
  async draw(counter: Counter, count: number): Promise<number> {
    const drawn = this.#sql.numbers?.draw(counter, count);
    if (drawn !== undefined) return drawn;
    await this.run(DRAW, [count, counter]);
    const [row] = await this.all<{ value: number }>(DRAWN, [counter]);
    if (row === undefined) throw new Error(`the counter ${counter} is missing`);
    return row.value - count + 1;
  }

  /**
   * Records that a job was added, changed state or was deleted: for `counts` (counting a million rows would take a second) and for
   * watchers.
   */
  moved(job: Movable, from: JobState | undefined, to: JobState | 'deleted'): void {
    if (to === 'ready') this.#ready = true;
    else if (to === 'completed' || to === 'failed' || to === 'cancelled') this.#settled = true;
    const earlier = this.#changes.get(job.id);
    const added = from === undefined || earlier?.added === true;
    if (earlier !== undefined || this.#changes.size < MAX_CHANGES) this.#changes.set(job.id, { job, state: to, added });
    else this.#cut = true;
    if (from === to) return;
    if (from !== undefined) this.#count(job, from, -1);
    if (to !== 'deleted') this.#count(job, to, 1);
  }

  /** Records that the weight of a job changed. */
  weighed(job: Movable, state: JobState, now: WeightColumns): void {
    if (job.grp !== null) this.#countGroup(job.grp, state, 0, now.weight - job.weight, now.weight_part - job.weight_part);
  }

  /** Records that jobs may have become claimable. */
  freed(): void {
    this.#ready = true;
  }

  /** Records that something becomes due at this instant. */
  due(at: number): void {
    this.#dueAt = Math.min(this.#dueAt ?? at, at);
  }

  /** Records that a group, workgroup, schedule or worker was created, changed or deleted. */
  touched(kind: Row['kind'], id: string): void {
    this.#rows.set(`${kind} ${id}`, { kind, id });
  }

  /** What the transaction changed, as of the last `flush`; undefined if nothing that concerns anyone. */
  get change(): LedgerChange | undefined {
    const { cancelled } = this;
    const dueAt = this.#dueAt;
    const nothing = this.#changes.size === 0 && this.#rows.size === 0 && cancelled.length === 0;
    if (nothing && !this.#ready && !this.#settled && dueAt === undefined) return undefined;
    const jobs = [...this.#changes.values()].map(({ job, state, added }): JobChange => {
      const group = job.grp === null ? undefined : this.#groupIds.get(job.grp);
      return { id: job.id, channel: job.channel, state, ...(group !== undefined && { group }), ...(added && { added }) };
    });
    return {
      jobs,
      cut: this.#cut,
      ready: this.#ready,
      settled: this.#settled,
      cancelled,
      rows: [...this.#rows.values()],
      ...(dueAt !== undefined && { dueAt }),
      own: true,
    };
  }

  /** Writes the tallies, before the commit and before they are read. Sorted, so that two transactions cannot deadlock. */
  async flush(): Promise<void> {
    const tallies = [...this.#tallies.values()].filter(([, , jobs]) => jobs !== 0);
    this.#tallies.clear();
    tallies.sort((a, b) => compare(a[0], b[0]) || compare(a[1], b[1]));
    for (const piece of pieces(tallies))
      await this.run(
        TALLY(piece.length),
        piece.flatMap(([channel, state, jobs]) => [channel, state, this.#shard, jobs]),
      );
    const groupTallies = [...this.#groupTallies.values()].filter(([, , ...sums]) => sums.some((sum) => sum !== 0));
    this.#groupTallies.clear();
    groupTallies.sort((a, b) => a[0] - b[0] || compare(a[1], b[1]));
    for (const piece of pieces(groupTallies))
      await this.run(
        GROUP_TALLY(piece.length),
        piece.flatMap(([grp, state, jobs, weight, part]) => [grp, state, this.#shard, jobs, weight, part]),
      );
  }

  /** Reads the group ids that `change` reports. Call after the last `flush`. */
  async readGroupIds(): Promise<void> {
    const unknown = new Set<number>();
    for (const { job } of this.#changes.values()) if (job.grp !== null && !this.#groupIds.has(job.grp)) unknown.add(job.grp);
    for (const { seq, id } of await this.allOf<{ seq: number; id: string }>(GROUP_IDS, [...unknown])) this.#groupIds.set(seq, id);
  }

  /** Remembers the id of a group that this transaction deletes, since it could not be read afterwards. */
  rememberGroupId(grp: number, id: string): void {
    this.#groupIds.set(grp, id);
  }

  #count(job: Movable, state: JobState, by: 1 | -1): void {
    const key = `${job.channel}\n${state}`;
    const tally = this.#tallies.get(key);
    if (tally === undefined) this.#tallies.set(key, [job.channel, state, by]);
    else tally[2] += by;
    if (job.grp !== null) this.#countGroup(job.grp, state, by, by * job.weight, by * job.weight_part);
  }

  #countGroup(grp: number, state: JobState, jobs: number, weight: number, part: number): void {
    const key = `${grp} ${state}`;
    const tally = this.#groupTallies.get(key);
    if (tally === undefined) this.#groupTallies.set(key, [grp, state, jobs, weight, part]);
    else {
      tally[2] += jobs;
      tally[3] += weight;
      tally[4] += part;
    }
  }
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
