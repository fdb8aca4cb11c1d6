import type { SettledJob } from '../job/job.js';
import type { Ledger } from '../ledger/ledger.js';

const PAGE = 500;

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
  #closed = false;

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
  }

  /** Something may have been settled. */
  wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  close(): void {
    this.#closed = true;
    this.wake();
  }

  /** Follows from behind `after` (default: the very first) until the Master closes or the signal aborts. */
  async *follow(options: { readonly after?: number; readonly signal?: AbortSignal } = {}): AsyncGenerator<Result, void, undefined> {
    let after = options.after ?? 0;
    const wake = () => this.wake();
    options.signal?.addEventListener('abort', wake);
    try {
      while (!options.signal?.aborted) {
        // Asked for before the read, so that what is settled during it is not slept through.
        const woken = new Promise<void>((resolve) => this.#waiting.push(resolve));
        const page = await this.#ledger.settledAfter(after, PAGE);
        for (const result of page) {
          after = result.cursor;
          yield result;
        }
        if (page.length > 0) continue;
        if (this.#closed) return;
        await woken;
      }
    } finally {
      options.signal?.removeEventListener('abort', wake);
    }
  }
}
