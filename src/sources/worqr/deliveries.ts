import type { Clock, Timer } from '../../clock.js';
import type { JobError, Json } from '../../job/job.js';
import type { Settlement } from '../../job/verbs.js';
import type { Log } from '../../log.js';
import type { Outbox } from '../outbox.js';
import type { WorqrConnection } from './connection.js';
import { uniqueOf, workerOf } from './names.js';

const MIN_RETRY_MS = 500;
const MAX_RETRY_MS = 10_000;
const MAX_BACKOFF_MS = 60_000;

export interface DeliveriesOptions {
  readonly connection: WorqrConnection;
  readonly outbox: Outbox;
  readonly clock: Clock;
  readonly log: Log;
  /** So many runs of a task may fail before it is finished with its error. */
  readonly attempts: number;
  /** How long a task whose run failed is held before it goes to the end of its queue; doubles with each further failure. */
  readonly backoffMs: number;
  /** The text of a process that this worker holds. */
  readonly textOf: (process: string) => string | undefined;
  /** The process is over for us, however it ended. */
  readonly onEnd: (process: string) => void;
}

/** Carries outcomes from the outbox to Redis: what completed is finished, what shall be tried again or was not run is put back. */
export class Deliveries {
  readonly #options: DeliveriesOptions;
  /** Settlements that are being sent, or wait for their time. */
  readonly #under = new Map<Settlement, Timer | undefined>();
  #retry: Timer | undefined;
  #retryMs = MIN_RETRY_MS;
  #hurried = false;

  constructor(options: DeliveriesOptions) {
    this.#options = options;
  }

  /** Resolves once the outcome is safe: on disk, or in Redis. */
  deliver(settlement: Settlement): Promise<void> {
    const safe = this.#options.outbox.put(settlement);
    const waitMs = this.#hurried ? 0 : this.#waitOf(settlement);
    if (waitMs === 0) void this.#send(settlement);
    else
      this.#under.set(
        settlement,
        this.#options.clock.after(waitMs, () => void this.#send(settlement), { unref: true }),
      );
    return safe;
  }

  /** Redis is there: everything that waits for it goes out. */
  async sendAll(): Promise<void> {
    this.#retry?.cancel();
    this.#retry = undefined;
    await Promise.all(this.#options.outbox.pending().map((settlement) => this.#under.has(settlement) || this.#send(settlement)));
  }

  /** Nothing waits for its time any more. */
  hurry(): void {
    this.#hurried = true;
    for (const [settlement, timer] of this.#under) {
      if (timer === undefined) continue;
      timer.cancel();
      void this.#send(settlement);
    }
  }

  /** Somebody wants it stopped: what would be tried again is finished instead. */
  finishNow(settlement: Settlement): void {
    const timer = this.#under.get(settlement);
    if (timer === undefined) return;
    timer.cancel();
    void this.#send(settlement, true);
  }

  /** Those that wait to be tried again. */
  waiting(): Settlement[] {
    return [...this.#under].filter(([, timer]) => timer !== undefined).map(([settlement]) => settlement);
  }

  flush(signal: AbortSignal): Promise<void> {
    this.hurry();
    return this.#options.outbox.emptied(signal);
  }

  close(): void {
    this.#retry?.cancel();
    for (const timer of this.#under.values()) timer?.cancel();
  }

  #waitOf({ outcome, lease }: Settlement): number {
    const { attempts, backoffMs } = this.#options;
    const again = outcome.state === 'failed' && outcome.retry && lease < attempts;
    return again ? Math.min(backoffMs * 2 ** (lease - 1), MAX_BACKOFF_MS) : 0;
  }

  async #send(settlement: Settlement, finish = false): Promise<void> {
    const { outbox, log, onEnd } = this.#options;
    const { id: process } = settlement;
    this.#under.set(settlement, undefined);
    try {
      const there = await (this.#isPutBack(settlement) && !finish ? this.#putBack(settlement) : this.#finish(settlement));
      if (!there) log.warn('an outcome came too late: its task was taken away meanwhile', { process });
      outbox.acknowledge(settlement);
      onEnd(process);
      this.#retryMs = MIN_RETRY_MS;
    } catch (error) {
      log.debug('an outcome could not be delivered', { process, error });
      this.#retryLater();
    } finally {
      this.#under.delete(settlement);
    }
  }

  #isPutBack({ outcome, lease }: Settlement): boolean {
    return outcome.state === 'released' || (outcome.state === 'failed' && outcome.retry && lease < this.#options.attempts);
  }

  async #putBack({ id, outcome }: Settlement): Promise<boolean> {
    const where = outcome.state === 'released' ? ['front', 'free'] : ['back', 'charge'];
    return (await this.#options.connection.run('putBack', [id, ...where])) === 1;
  }

  async #finish({ id: process, outcome }: Settlement): Promise<boolean> {
    const { connection, textOf } = this.#options;
    const task = textOf(process) ?? (await connection.data.lindex(`${connection.prefix}:processes:${process}`, 0));
    if (task === null) return false;
    const ended = endOf(outcome);
    return (
      (await connection.run('finish', [process, uniqueOf(task), JSON.stringify({ workerId: workerOf(process), task, ...ended })])) === 1
    );
  }

  #retryLater(): void {
    if (this.#retry !== undefined) return;
    this.#retry = this.#options.clock.after(
      this.#retryMs,
      () => {
        this.#retry = undefined;
        if (this.#options.connection.isUp) void this.sendAll();
      },
      { unref: true },
    );
    this.#retryMs = Math.min(this.#retryMs * 2, MAX_RETRY_MS);
  }
}

/** What `done` tells: `result` as worqr has it; of a failure our own `error`, which worqr's readers pass on unread. */
function endOf(outcome: Settlement['outcome']): { readonly result: Json } | { readonly error: JobError } | undefined {
  if (outcome.state === 'released') return undefined;
  if (outcome.state === 'failed') return { error: outcome.error };
  if ((outcome.children?.length ?? 0) === 0) return { result: outcome.output };
  return { error: { code: 'children-invalid', message: 'worqr knows no children' } };
}
