import { pause, systemClock } from '../clock.js';
import { PeerworkError } from '../errors.js';
import type { SettledJob } from '../job/job.js';
import { Wake } from '../kit/wake.js';
import type { Ledger } from '../ledger/ledger.js';

/** Page size, small enough for the transaction that settled the jobs: in a group commit a page counts as this many jobs. */
const PAGE = 100;
/** Delay after a short page. It is nearly always the last one, and reading again at once would only delay others waiting for the ledger. */
const LINGER_MS = 20;
const CLOSE_MS = 1_000;
/** Delay between attempts while the database is unreachable. */
const UNREACHABLE_DELAY_MS = 500;

export interface Result {
  /** Pass it to `results({ after })` to continue after this result. */
  readonly cursor: number;
  readonly job: SettledJob;
}

/**
 * The settled jobs in order of settlement, each exactly once per reader. Each reader follows the ledger with its own cursor, so it
 * misses none, whatever settled it: this Master, an earlier run of it, or an expired lease.
 */
export class Results {
  readonly #ledger: Ledger;
  /** Woken when something may have been settled, and on close. */
  readonly #settlements = new Wake();
  readonly #ended = new Wake();
  #followers = 0;
  #closed = false;

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
  }

  /** Wakes the readers: something may be settled now, or after the ledger's work of this turn. */
  wake(): void {
    this.#settlements.wake();
  }

  /** Lets readers reach the end; the ledger must stay open until this resolves. Waits at most a second for slow readers. */
  async close(): Promise<void> {
    this.#closed = true;
    this.wake();
    if (this.#followers > 0) await this.#ended.wait({ within: { ms: CLOSE_MS, clock: systemClock } });
  }

  async #read(after: number): Promise<{ readonly cursor: number; readonly job: SettledJob }[]> {
    for (;;) {
      try {
        return await this.#ledger.settledAfter(after, PAGE);
      } catch (thrown) {
        if (!(thrown instanceof PeerworkError) || thrown.code !== 'ledger-away' || this.#closed) throw thrown;
        await pause(systemClock, UNREACHABLE_DELAY_MS);
      }
    }
  }

  /** Follows the results after `after` (default: from the very first) until the Master closes or the signal aborts. */
  async *follow(options: { readonly after?: number; readonly signal?: AbortSignal } = {}): AsyncGenerator<Result, void, undefined> {
    let after = options.after ?? 0;
    const { signal } = options;
    this.#followers += 1;
    try {
      while (!signal?.aborted) {
        // Read before querying the ledger, so that a settlement in between is not missed.
        const since = this.#settlements.count;
        const page = await this.#read(after);
        for (const result of page) {
          after = result.cursor;
          yield result;
        }
        if (page.length === PAGE) continue;
        if (page.length > 0) {
          await this.#settlements.wait({ signal, since, within: { ms: LINGER_MS, clock: systemClock } });
          continue;
        }
        if (this.#closed) return;
        await this.#settlements.wait({ signal, since });
      }
    } finally {
      this.#followers -= 1;
      if (this.#followers === 0) this.#ended.wake();
    }
  }
}
