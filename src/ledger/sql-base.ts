import type { Adding } from './add.js';
import type { Driver } from './driver.js';
import { GroupCommit } from './group-commit.js';
import { LaneBook } from './lane-book.js';
import type { LedgerChange, LedgerOptions } from './ledger.js';
import { LedgerTime } from './ledger-time.js';
import type { Transaction } from './transaction.js';
import { WorkerBook } from './worker-book.js';

/** Jobs per operation. Longer lists become several, so that no transaction holds up the event loop for long; each is all or nothing. */
export const CHUNK = 500;

/** What all verbs of the SQL ledger share. */
export class SqlBase {
  protected readonly driver: Driver;
  protected readonly options: LedgerOptions;
  protected readonly workers = new WorkerBook();
  protected readonly lanes = new LaneBook();
  protected readonly time: LedgerTime;
  protected readonly commits: GroupCommit;
  readonly #listeners = new Set<(change: LedgerChange) => void>();

  /** The driver's schema is up to date. `shard` numbers this opener among those who have the ledger open. */
  constructor(driver: Driver, options: LedgerOptions, shard: number) {
    this.driver = driver;
    this.options = options;
    this.time = new LedgerTime(options.clock, driver.readClock, options.owner);
    this.commits = new GroupCommit(driver, {
      shard,
      offsetMs: () => this.time.offsetMs,
      onRollback: () => {
        this.workers.forget();
        this.lanes.forget();
      },
      onCommit: (change) => {
        this.#tell(change);
        driver.announce?.(change);
      },
    });
    driver.onAnnounced?.((change) => this.#tell(change));
  }

  watch(listener: (change: LedgerChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    // A database that is away is closed all the same.
    if (this.options.clock !== undefined) await this.run(1, (transaction) => this.time.note(transaction)).catch(() => {});
    await this.commits.close();
    this.#listeners.clear();
    await this.driver.close();
  }

  protected adding(transaction: Transaction, now: number): Adding {
    return { now: transaction.at(now), random: this.options.random ?? Math.random, lanes: this.lanes };
  }

  /** One operation that touches about `weight` jobs. */
  protected run<T>(weight: number, work: (transaction: Transaction) => Promise<T>): Promise<T> {
    return this.commits.run(weight, work);
  }

  /**
   * In portions of about CHUNK jobs, one after the other: whatever else the ledger is asked for meanwhile need not wait for all of them.
   * `weigh` says how many jobs an item counts as; default 1.
   */
  protected async inChunks<Item, Answer>(
    items: readonly Item[],
    work: (transaction: Transaction, chunk: readonly Item[]) => Promise<Answer[]>,
    weigh: (item: Item) => number = one,
  ): Promise<Answer[]> {
    let answers: Answer[] | undefined;
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
      const some = await this.run(weight, (transaction) => work(transaction, chunk));
      if (answers === undefined) answers = some;
      else for (const answer of some) answers.push(answer);
      from = to;
    }
    return answers ?? [];
  }

  /** Runs `work`, which does something to at most CHUNK jobs, until it finds none. */
  protected async untilNone<Answer>(work: (transaction: Transaction) => Promise<readonly Answer[]>): Promise<Answer[]> {
    const answers: Answer[] = [];
    for (;;) {
      const some = await this.run(CHUNK, work);
      if (some.length === 0) return answers;
      answers.push(...some);
    }
  }

  #tell(change: LedgerChange): void {
    const { dueAt } = change;
    const told = dueAt === undefined ? change : { ...change, dueAt: this.time.back(dueAt) };
    for (const listener of this.#listeners) listener(told);
  }
}

function one(): number {
  return 1;
}
