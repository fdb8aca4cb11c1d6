import type { Clock, Timer } from '../clock.js';
import type { Ledger } from '../ledger/ledger.js';
import type { Log } from '../log.js';
import { Awake } from './awake.js';

/** Looks at least this often, whatever the ledger says: the safety net. */
const MAX_SLEEP_MS = 5_000;
const MIN_SLEEP_MS = 20;
/** During the grace leases that ended are overdue all the time: look for delayed jobs only this often. */
const GRACE_TICK_MS = 100;

export interface SweeperOptions {
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly log: Log;
  /**
   * Leases are not taken back sooner than this after the start: a Master that was away for long must first let its workers return
   * with what they have done meanwhile.
   */
  readonly graceMs: number;
  /** Jobs may have become ready or ended. */
  readonly onSweep: () => void;
}

/** Has the ledger tended when time brings something about: a lease ends, a delayed job or a schedule is due, a hold is over. */
export class Sweeper {
  readonly #options: SweeperOptions;
  readonly #awake: Awake;
  #timer: Timer | undefined;
  #running: Promise<void> = Promise.resolve();
  #wakeAt = Number.POSITIVE_INFINITY;
  #expireFrom = 0;
  #closed = false;
  #expired = 0;

  constructor(options: SweeperOptions) {
    this.#options = options;
    this.#awake = new Awake(options.clock);
  }

  /** Leases that ended without a word from their worker, since the start. */
  get expired(): number {
    return this.#expired;
  }

  start(): void {
    this.#expireFrom = this.#options.clock.now() + this.#options.graceMs;
    this.#awake.start();
    this.#sleep(0);
  }

  /** Something will be due at this instant: do not sleep longer. */
  hint(at: number): void {
    if (at < this.#wakeAt && !this.#closed) this.#sleep(Math.max(MIN_SLEEP_MS, at - this.#options.clock.now()));
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#awake.stop();
    this.#timer?.cancel();
    await this.#running;
  }

  #sleep(ms: number): void {
    this.#timer?.cancel();
    if (this.#closed) return;
    this.#wakeAt = this.#options.clock.now() + ms;
    this.#timer = this.#options.clock.after(ms, () => {
      this.#running = this.#sweep();
    });
  }

  async #sweep(): Promise<void> {
    const { ledger, clock, log, graceMs, onSweep } = this.#options;
    this.#wakeAt = Number.POSITIVE_INFINITY;
    let sleepMs = MAX_SLEEP_MS;
    try {
      // What workers said while this process stood still is yet to be heard.
      this.#expireFrom = Math.max(this.#expireFrom, clock.now() + Math.min(this.#awake.takeStalledMs(), graceMs));
      const keepLeases = clock.now() < this.#expireFrom;
      const { expired, late, nextAt, moved } = await ledger.tend(clock.now(), { keepLeases });
      // Another Master renews leases by the time of before until it looks as well, and by the new one within a lease of that.
      if (moved) this.#expireFrom = Math.max(this.#expireFrom, clock.now() + MAX_SLEEP_MS + graceMs);
      this.#expired += expired;
      if (expired > 0) log.warn('leases ended without a word from their worker', { jobs: expired });
      if (late > 0) log.warn('runs over their time were ended, their workers had not done so', { jobs: late });
      onSweep();
      if (nextAt !== undefined) sleepMs = Math.min(MAX_SLEEP_MS, Math.max(MIN_SLEEP_MS, nextAt - clock.now()));
      if (clock.now() < this.#expireFrom) sleepMs = Math.min(MAX_SLEEP_MS, Math.max(sleepMs, GRACE_TICK_MS));
    } catch (error) {
      log.error('the ledger could not be swept', { error });
    }
    this.#sleep(sleepMs);
  }
}
