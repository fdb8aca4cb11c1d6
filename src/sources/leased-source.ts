import type { Clock } from '../clock.js';
import type { Lease, Source } from '../job/source.js';
import { within } from '../kit/deadline.js';
import { Wake } from '../kit/wake.js';

/**
 * The common part of all sources: a claim that waits for work, and a shutdown that happens once. A wire implements how to take available
 * jobs.
 *
 * Life cycle: open → closing (claims return, none takes jobs any more) → closed. A claim calls `take`. If there are no jobs it waits for
 * `wake`, or for `idleMs`, and calls `take` again. A wake during a `take` is not missed. A wire's back-off must outlive a claim, which may
 * be withdrawn and repeated at any time.
 */
export abstract class LeasedSource implements Source {
  readonly name: string;
  protected readonly clock: Clock;
  readonly #wakes = new Wake();
  readonly #closing = new AbortController();
  #closed: Promise<void> | undefined;

  constructor(name: string, clock: Clock) {
    this.name = name;
    this.clock = clock;
  }

  claim(capacity: number, signal: AbortSignal): Promise<Lease[]> {
    return within({ signals: [signal, this.closing] }, async (ended) => {
      while (!ended.aborted) {
        const since = this.#wakes.count;
        const leases = await this.take(capacity, ended);
        if (leases.length > 0) return leases;
        const ms = ended.aborted ? 0 : this.idleMs();
        if (ms > 0) await this.#wakes.wait({ signal: ended, since, within: { ms, clock: this.clock } });
      }
      return [];
    });
  }

  /** Wakes a waiting claim, because there may be work. */
  wake(): void {
    this.#wakes.wake();
  }

  close(): Promise<void> {
    if (this.#closed === undefined) {
      this.#closing.abort();
      this.#closed = this.end();
    }
    return this.#closed;
  }

  abstract flush(signal: AbortSignal): Promise<void>;

  /** Aborts when the source closes. */
  protected get closing(): AbortSignal {
    return this.#closing.signal;
  }

  /**
   * Takes up to `capacity` available jobs. May wait for a server's response; when the signal aborts, returns the jobs it has or gives them
   * back. Must not reject.
   */
  protected abstract take(capacity: number, signal: AbortSignal): Promise<Lease[]>;

  /**
   * Milliseconds from a `take` without jobs until the next one, unless `wake` comes first. Default: until `wake`. 0: immediately, because
   * `take` itself waits.
   */
  protected idleMs(): number {
    return Number.POSITIVE_INFINITY;
  }

  /** Releases everything. Called once. */
  protected abstract end(): Promise<void>;
}
