import { PeerworkError } from '../errors.js';
import { Conflict, type Driver } from './driver.js';
import type { LedgerChange } from './ledger-change.js';
import { Transaction } from './transaction.js';

interface Operation {
  /** Approximate number of jobs that the operation touches. */
  readonly weight: number;
  /** May run twice, because a failed batch is repeated one operation at a time: state kept outside the transaction must tolerate that. */
  work(transaction: Transaction): Promise<void>;
  /** Called after the commit. */
  resolve(): void;
  reject(error: unknown): void;
}

export interface GroupCommitOptions {
  /** Number of this opener of the ledger; default 0. */
  readonly shard?: number;
  /** Offset added to callers' times, in ms, read at the start of each transaction; default 0. */
  readonly offsetMs?: () => number;
  readonly onRollback?: () => void;
  /** Called with what a commit changed, before its operations resolve. */
  readonly onCommit?: (change: LedgerChange) => void;
}

/** Jobs per transaction: at about 15 µs each, a full transaction blocks the event loop for some 8 ms. */
const MAX_WEIGHT = 500;
/**
 * Operations with more jobs than this, chunks of a long list, may be overtaken by smaller ones. Small operations keep their order among
 * themselves.
 */
const LARGE = 100;
/**
 * Number of large batches in a row before small operations get a turn: some 50 ms. Operations that wait meanwhile share one transaction;
 * serving them after each large batch would mean many small transactions.
 */
const LARGE_IN_A_ROW = 4;
/** Retries of a transaction that conflicted with another one. One conflict is chance; this many in a row are a bug. */
const MAX_CONFLICTS = 20;

/**
 * Batches everything requested in one event-loop turn into one transaction, because commits cost far more than statements. Operations queue
 * up → (`setImmediate`, which lets this turn's I/O be read first and adds 0.02 ms on an idle ledger) → one transaction of at most 500 jobs
 * → the promises resolve → the next turn. Small operations do not wait behind a queue of large ones.
 *
 * If an operation throws, the batch is rolled back and each of its operations is retried in a transaction of its own, so that none fails
 * because of another.
 */
export class GroupCommit {
  readonly #driver: Driver;
  readonly #options: GroupCommitOptions;
  #waiting: Operation[] = [];
  /** Number of consecutive batches so far that contained a large operation. */
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

  /** Refuses further operations; resolves once those in flight have ended. */
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
    // A small operation does not wait for the whole queue of large ones: it runs between them.
    const between = this.#largeInARow >= LARGE_IN_A_ROW && isLarge(this.#waiting[0]);
    let batch = between ? this.#take((operation) => !isLarge(operation)) : [];
    if (batch.length === 0) batch = this.#take(() => true);
    this.#largeInARow = batch.some(isLarge) ? this.#largeInARow + 1 : 0;
    return batch;
  }

  /** Dequeues matching operations from the front, as many as fit in one transaction. */
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
        await transaction.readGroupIds();
        change = transaction.change;
        worked = true;
      });
    } catch (error) {
      this.#options.onRollback?.();
      // Nothing was committed and no operation is at fault: retry.
      if (error instanceof Conflict && conflicts < MAX_CONFLICTS) return this.#commit(batch, conflicts + 1);
      // A failed commit may still have reached the disk: repeating it could apply everything twice.
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
