import type { Clock, Timer } from '../clock.js';
import type { Ledger } from '../ledger/ledger.js';
import type { Log } from '../log.js';
import { Awake } from './awake.js';

/** Safety net: maintenance runs at least this often, whatever the ledger's next due time. */
const MAX_SLEEP_MS = 5_000;
const MIN_SLEEP_MS = 20;
/** During the grace period expired leases are always overdue, so delayed jobs are checked only this often. */
const GRACE_TICK_MS = 100;

export interface MaintenanceOptions {
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly log: Log;
  /**
   * How long after the start no lease expires: after a long absence of the Master, its workers must first be able to return with
   * their work.
   */
  readonly graceMs: number;
  /** Called when jobs may have become ready or ended. */
  readonly onChange: () => void;
}

/** Runs the ledger's maintenance when something falls due: the end of a lease or a hold, a delayed job, a schedule. */
export class Maintenance {
  readonly #options: MaintenanceOptions;
  readonly #awake: Awake;
  #timer: Timer | undefined;
  #running: Promise<void> = Promise.resolve();
  #wakeAt = Number.POSITIVE_INFINITY;
  #expireFrom = 0;
  #closed = false;
  #expired = 0;

  constructor(options: MaintenanceOptions) {
    this.#options = options;
    this.#awake = new Awake(options.clock);
  }

  /** Number of leases that expired since the start because their worker went silent. */
  get expired(): number {
    return this.#expired;
  }

  start(): void {
    this.#expireFrom = this.#options.clock.now() + this.#options.graceMs;
    this.#awake.start();
    this.#sleep(0);
  }

  /** Makes sure that maintenance runs by this instant, because something will be due. */
  wakeBy(at: number): void {
    if (at < this.#wakeAt && !this.#closed) this.#sleep(Math.max(MIN_SLEEP_MS, at - this.#options.clock.now()));
  }

  /** Stops, after a run that is in progress. */
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
      this.#running = this.#run();
    });
  }

  async #run(): Promise<void> {
    const { ledger, clock, log, graceMs, onChange } = this.#options;
    this.#wakeAt = Number.POSITIVE_INFINITY;
    let sleepMs = MAX_SLEEP_MS;
    try {
      // Messages that workers sent while this process was blocked have not been read yet.
      this.#expireFrom = Math.max(this.#expireFrom, clock.now() + Math.min(this.#awake.takeStalledMs(), graceMs));
      const keepLeases = clock.now() < this.#expireFrom;
      const { expired, late, nextAt, moved } = await ledger.maintain(clock.now(), { keepLeases });
      // Another Master renews leases by the old time until it checks as well, and by the new one within a lease after that.
      if (moved) this.#expireFrom = Math.max(this.#expireFrom, clock.now() + MAX_SLEEP_MS + graceMs);
      this.#expired += expired;
      if (expired > 0)
        log.warn('leases expired: their workers went silent', {
          jobs: expired,
          hint: 'Find out why the workers went silent (`peerwork workers`, and `peerwork logs` on their machines); their jobs go to other workers.',
        });
      if (late > 0)
        log.warn('runs over their time limit were ended, because their workers did not', {
          jobs: late,
          hint: 'Check their workers: one that does not end its jobs in time is stopped or overloaded.',
        });
      onChange();
      if (nextAt !== undefined) sleepMs = Math.min(MAX_SLEEP_MS, Math.max(MIN_SLEEP_MS, nextAt - clock.now()));
      if (clock.now() < this.#expireFrom) sleepMs = Math.min(MAX_SLEEP_MS, Math.max(sleepMs, GRACE_TICK_MS));
    } catch (error) {
      log.error('the maintenance of the ledger failed', {
        error,
        hint: 'No action needed if it passes; it is retried. Otherwise check the disk or database of the ledger.',
      });
    }
    this.#sleep(sleepMs);
  }
}
