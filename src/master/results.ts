import { pause, systemClock } from '../clock.js';
import { PeerworkError } from '../errors.js';
import type { SettledJob } from '../job/job.js';
import { Wake } from '../kit/wake.js';
import type { Ledger } from '../ledger/ledger.js';

/** Small enough to fit into the transaction that settled them: a page counts as this many jobs in a group commit. */
const PAGE = 100;
/** A short page is nearly always the last; reading again at once would only keep others waiting for the ledger. */
const LINGER_MS = 20;
const CLOSE_MS = 1_000;
/** Delay while the database is unreachable. */
const AWAY_MS = 500;

export interface Result {
  /** Pass it to `results({ after })` to continue after this one. */
  readonly cursor: number;
  readonly job: SettledJob;
}

/**
 * The settled jobs, in the order of their settlement, each exactly once per reader. Readers follow the ledger with a cursor of their own. So none is
 * missed, whatever settled it: this Master, an earlier run of it, or an expired lease.
 */
export class Results {
  readonly #ledger: Ledger;
  /** Something may have been settled, or it closes. */
  readonly #news = new Wake();
  readonly #ended = new Wake();
  #followers = 0;
  #closed = false;

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
  }

  /** Something may have been settled, or will be after the ledger's work of this turn. */
  wake(): void {
    this.#news.wake();
  }

  /** Lets the followers read to the end: the ledger must stay open until this resolves. It does not wait for slow readers. */
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
        await pause(systemClock, AWAY_MS);
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
        // Read before the ledger is, so that a settlement meanwhile is not missed.
        const since = this.#news.count;
        const page = await this.#read(after);
        for (const result of page) {
          after = result.cursor;
          yield result;
        }
        if (page.length === PAGE) continue;
        if (page.length > 0) {
          await this.#news.wait({ signal, since, within: { ms: LINGER_MS, clock: systemClock } });
          continue;
        }
        if (this.#closed) return;
        await this.#news.wait({ signal, since });
      }
    } finally {
      this.#followers -= 1;
      if (this.#followers === 0) this.#ended.wake();
    }
  }
}
