import { PeerworkError } from '../errors.js';
import type { SettledJob } from '../job/job.js';
import type { Ledger } from '../ledger/ledger.js';

/** Small enough to fit into the transaction that settled them: a page counts as so many jobs in a group commit. */
const PAGE = 100;
/** A short page is nearly always the last; to look again at once would only keep others waiting for the ledger. */
const LINGER_MS = 20;
const CLOSE_MS = 1_000;
/** How long to wait for a database that is away. */
const AWAY_MS = 500;

export interface Result {
  /** Give it to `results({ after })` to go on behind this one. */
  readonly cursor: number;
  readonly job: SettledJob;
}

/**
 * The settled jobs, in the order of their settlement, each exactly once per reader. Readers follow the ledger with a cursor of
 * their own, so that none is missed whoever settled it: this Master, an earlier run of it, or an expired lease.
 */
export class Results {
  readonly #ledger: Ledger;
  #waiting: (() => void)[] = [];
  #followers = 0;
  #closed: (() => void) | undefined;

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
  }

  /** Something may have been settled, or will be by what the ledger was given in this turn. */
  wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  /** Lets the followers read to the end: the ledger must stay open until this resolves. Who reads slowly is not waited for. */
  async close(): Promise<void> {
    const ended = new Promise<void>((resolve) => {
      this.#closed = resolve;
    });
    this.wake();
    if (this.#followers > 0) await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, CLOSE_MS))]);
  }

  async #read(after: number): Promise<{ readonly cursor: number; readonly job: SettledJob }[]> {
    for (;;) {
      try {
        return await this.#ledger.settledAfter(after, PAGE);
      } catch (thrown) {
        if (!(thrown instanceof PeerworkError) || thrown.code !== 'ledger-away' || this.#closed !== undefined) throw thrown;
        await new Promise((resolve) => setTimeout(resolve, AWAY_MS));
      }
    }
  }

  /** Follows from behind `after` (default: the very first) until the Master closes or the signal aborts. */
  async *follow(options: { readonly after?: number; readonly signal?: AbortSignal } = {}): AsyncGenerator<Result, void, undefined> {
    let after = options.after ?? 0;
    const wake = () => this.wake();
    options.signal?.addEventListener('abort', wake);
    this.#followers += 1;
    try {
      while (!options.signal?.aborted) {
        // Asked for before the read, so that what is settled during it is not slept through.
        const woken = new Promise<void>((resolve) => this.#waiting.push(resolve));
        const page = await this.#read(after);
        for (const result of page) {
          after = result.cursor;
          yield result;
        }
        if (page.length === PAGE) continue;
        if (page.length > 0) {
          await Promise.race([woken, new Promise((resolve) => setTimeout(resolve, LINGER_MS))]);
          continue;
        }
        if (this.#closed !== undefined) return;
        await woken;
      }
    } finally {
      options.signal?.removeEventListener('abort', wake);
      this.#followers -= 1;
      if (this.#followers === 0) this.#closed?.();
    }
  }
}
