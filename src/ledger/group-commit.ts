import { PeerworkError } from '../errors.js';
import { Conflict, type Driver } from './driver.js';
import type { LedgerChange } from './ledger-change.js';
import { Transaction } from './transaction.js';

interface Operation {
  /** About how many jobs it touches. */
  readonly weight: number;
  /** Whatever it keeps outside the transaction must survive being run twice: a failed batch is repeated one by one. */
  work(transaction: Transaction): Promise<void>;
  /** Called after the commit. */
  resolve(): void;
  reject(error: unknown): void;
}

export interface GroupCommitOptions {
  /** Numbers the opener of the ledger; default 0. */
  readonly shard?: number;
  /** What is added to the time of callers, as it is at the beginning of a transaction; default nothing. */
  readonly offsetMs?: () => number;
  readonly onRollback?: () => void;
  /** Told what a commit changed, before its operations resolve. */
  readonly onCommit?: (change: LedgerChange) => void;
}

/** Jobs per transaction: at about 15 µs each, a full one stops the event loop for some 8 ms. */
const MAX_WEIGHT = 500;
/** Jobs of an operation that others may overtake: a portion of a long list. Among themselves the others keep their order. */
const LARGE = 100;
/** So many go one after the other: some 50 ms. What waits meanwhile shares a transaction; served after each one, it would be many small ones. */
const LARGE_IN_A_ROW = 4;
/** Times that a transaction is run again after it met another one. Each is a chance; so many in a row are a fault. */
const MAX_CONFLICTS = 20;

/**
 * Everything asked for in one turn of the event loop shares a transaction, because commits, not statements, are the cost. Waiting
 * → (`setImmediate`: this turn's I/O is read first, for 0.02 ms on an idle ledger) → one transaction of at most 500 jobs → the promises
 * resolve → the next turn. Others do not wait for a queue of large operations.
 * If an operation throws, the batch is rolled back and each of its operations gets a transaction of its own, so that none fails for another.
 */
export class GroupCommit {
  readonly #driver: Driver;
  readonly #options: GroupCommitOptions;
  #waiting: Operation[] = [];
  /** How many batches before had a large operation. */
  #largeInARow = 0;
  #running: Promise<void> | undefined;
  #closed = false;

  constructor(driver: Driver, options: GroupCommitOptions = {}) {
    this.#driver = driver;
    this.#options = options;
  }

  run<T>(weight: number, work: (transaction: Transaction) => Promise<T>): Promise<T> {
    if (this.#closed) return Promise.reject(new PeerworkError('closed'));
    return new Promise<T>((resolve, reject) => {
      let result: T;
      this.#waiting.push({
        weight,
        reject,
        async work(transaction) {
          result = await work(transaction);
        },
        resolve: () => resolve(result),
      });
      this.#running ??= this.#drain();
    });
  }

  /** Refuses further operations; resolves when those under way have ended. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#running;
  }

  async #drain(): Promise<void> {
    while (this.#waiting.length > 0) {
      await new Promise((resolve) => setImmediate(resolve));
      await this.#commit(this.#next());
    }
    this.#running = undefined;
  }

  #next(): Operation[] {
    // Whoever asks for little does not wait for a queue of large operations: it goes between some of them.
    const between = this.#largeInARow >= LARGE_IN_A_ROW && isLarge(this.#waiting[0]);
    let batch = between ? this.#take((operation) => !isLarge(operation)) : [];
    if (batch.length === 0) batch = this.#take(() => true);
    this.#largeInARow = batch.some(isLarge) ? this.#largeInARow + 1 : 0;
    return batch;
  }

  /** The first ones of that kind, as many as go into a transaction. */
  #take(wanted: (operation: Operation) => boolean): Operation[] {
    const taken: Operation[] = [];
    const others: Operation[] = [];
    let weight = 0;
    for (const [index, operation] of this.#waiting.entries()) {
      if (!wanted(operation)) {
        others.push(operation);
        continue;
      }
      if (taken.length > 0 && weight + operation.weight > MAX_WEIGHT) {
        others.push(...this.#waiting.slice(index));
        break;
      }
      weight += operation.weight;
      taken.push(operation);
    }
    this.#waiting = others;
    return taken;
  }

  async #commit(batch: readonly Operation[], conflicts = 0): Promise<void> {
    let worked = false;
    let change: LedgerChange | undefined;
    try {
      await this.#driver.transaction(async (sql) => {
        worked = false;
        const transaction = new Transaction(sql, this.#options.shard, this.#options.offsetMs?.());
        for (const operation of batch) await operation.work(transaction);
        await transaction.flush();
        await transaction.name();
        change = transaction.change;
        worked = true;
      });
    } catch (error) {
      this.#options.onRollback?.();
      // Nothing was committed, and nobody has done anything wrong.
      if (error instanceof Conflict && conflicts < MAX_CONFLICTS) return this.#commit(batch, conflicts + 1);
      // A commit that failed may have reached the disk nevertheless: repeating it could do things twice.
      if (worked || batch.length === 1) for (const operation of batch) operation.reject(error);
      else for (const operation of batch) await this.#commit([operation]);
      return;
    }
    if (change !== undefined) this.#options.onCommit?.(change);
    for (const operation of batch) operation.resolve();
  }
}

function isLarge(operation: Operation | undefined): boolean {
  return operation !== undefined && operation.weight > LARGE;
}
