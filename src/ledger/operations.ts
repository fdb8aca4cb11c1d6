import type { Driver } from './driver.js';
import { GroupCommit } from './group-commit.js';
import { LaneBook } from './lane-book.js';
import type { LedgerChange } from './ledger-change.js';
import { LedgerTime } from './ledger-time.js';
import type { WorkerRef } from './records.js';
import type { LedgerOptions } from './requests.js';
import type { Transaction } from './transaction.js';
import { WorkerBook } from './worker-book.js';

/** Jobs per operation. Longer lists are split, so that no transaction blocks the event loop for long; each chunk is all or nothing. */
export const CHUNK = 500;

/** What adding jobs needs besides the jobs. */
export interface Adding {
  readonly now: number;
  readonly random: () => number;
  readonly lanes: LaneBook;
  /** Number of the group that all of them join, whatever group they name. */
  readonly grp?: number | null;
}

/** Runs the work of the ledger's verbs against the database, as one operation or in chunks, always through the group commit. */
export class Operations {
  readonly options: LedgerOptions;
  readonly workers = new WorkerBook();
  readonly lanes = new LaneBook();
  readonly time: LedgerTime;
  readonly #driver: Driver;
  readonly #commits: GroupCommit;
  readonly #listeners = new Set<(change: LedgerChange) => void>();

  constructor(driver: Driver, options: LedgerOptions, shard: number) {
    this.#driver = driver;
    this.options = options;
    this.time = new LedgerTime(options.clock, driver.readClock, options.owner);
    this.#commits = new GroupCommit(driver, {
      shard,
      offsetMs: () => this.time.offsetMs,
      onRollback: () => {
        this.workers.forget();
        this.lanes.forget();
      },
      onCommit: (change) => {
        this.#notify(change);
        driver.announce?.(change);
      },
    });
    driver.onAnnounced?.((change) => this.#notify(change));
  }

  watch(listener: (change: LedgerChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    // An unreachable database must not keep the ledger from closing.
    if (this.options.clock !== undefined) await this.run(1, (transaction) => this.time.note(transaction)).catch(() => {});
    await this.#commits.close();
    this.#listeners.clear();
    await this.#driver.close();
  }

  adding(transaction: Transaction, now: number): Adding {
    return { now: transaction.at(now), random: this.options.random ?? Math.random, lanes: this.lanes };
  }

  /** Runs one operation that touches about `weight` jobs. */
  run<T>(weight: number, work: (transaction: Transaction) => Promise<T>): Promise<T> {
    return this.#commits.run(weight, work);
  }

  /**
   * Runs `work` on consecutive chunks of about CHUNK jobs, one operation each, so that other operations can run in between. `weigh` returns
   * how many jobs an item counts as (default: 1).
   */
  async inChunks<Item, Result>(
    items: readonly Item[],
    work: (transaction: Transaction, chunk: readonly Item[]) => Promise<Result[]>,
    weigh: (item: Item) => number = one,
  ): Promise<Result[]> {
    let results: Result[] | undefined;
    let from = 0;
    while (from < items.length) {
      let to = from;
      let weight = 0;
      for (; to < items.length && weight < CHUNK; to += 1) {
        const more = weigh(items[to] as Item);
        if (to > from && weight + more > CHUNK) break;
        weight += more;
      }
      const chunk = from === 0 && to === items.length ? items : items.slice(from, to);
      const batch = await this.run(weight, (transaction) => work(transaction, chunk));
      if (results === undefined) results = batch;
      else for (const result of batch) results.push(result);
      from = to;
    }
    return results ?? [];
  }

  /** Like `inChunks`, for items that belong to a worker. Registers the worker if it is unknown. */
  ofWorker<Item, Result>(
    worker: WorkerRef,
    items: readonly Item[],
    work: (transaction: Transaction, worker: number, chunk: readonly Item[]) => Promise<Result[]>,
    weigh?: (item: Item) => number,
  ): Promise<Result[]> {
    return this.inChunks(
      items,
      async (transaction, chunk) => work(transaction, await this.workers.seqOf(transaction, worker), chunk),
      weigh,
    );
  }

  /** Repeats `work`, which processes at most CHUNK jobs, until it finds none. */
  async untilNone<Result>(work: (transaction: Transaction) => Promise<readonly Result[]>): Promise<Result[]> {
    const results: Result[] = [];
    for (;;) {
      const batch = await this.run(CHUNK, work);
      if (batch.length === 0) return results;
      results.push(...batch);
    }
  }

  #notify(change: LedgerChange): void {
    const { dueAt } = change;
    const event = dueAt === undefined ? change : { ...change, dueAt: this.time.toCallerTime(dueAt) };
    for (const listener of this.#listeners) listener(event);
  }
}

function one(): number {
  return 1;
}
