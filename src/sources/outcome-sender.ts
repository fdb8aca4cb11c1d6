import type { Clock, Timer } from '../clock.js';
import { leaseKeyOf, type Settlement } from '../job/verbs.js';
import { Backoff } from '../kit/backoff.js';
import { within } from '../kit/deadline.js';
import type { Outbox } from './outbox.js';

/** `accepted`: the server has the outcome. `stale`: the server no longer wants it. Both are final. */
export type SendAnswer = 'accepted' | 'stale';

export interface OutcomeSenderOptions {
  readonly outbox: Outbox;
  readonly clock: Clock;
  /** Returns numbers in [0, 1), for the jitter of retries. Default `Math.random`. */
  readonly random?: () => number;
  /** Delay before an outcome is retried, in ms: doubles from `firstMs` to `capMs`, separately for each outcome. */
  readonly firstMs: number;
  readonly capMs: number;
  /**
   * Sends one outcome to the server; a rejection means a retry. Returns undefined if nothing can be sent now (the server is unreachable, or
   * the link is congested): this outcome and those behind it then wait for `wake`.
   */
  readonly send: (settlement: Settlement) => Promise<SendAnswer> | undefined;
  /** Called when an outcome has been acknowledged and forgotten. */
  readonly onEnd?: (settlement: Settlement, answer: SendAnswer) => void;
  /** Called when an outcome could not be sent. It is retried, after at least the returned number of milliseconds, if any. */
  readonly onFault?: (settlement: Settlement, error: unknown) => number | undefined;
}

interface Parcel {
  readonly settlement: Settlement;
  readonly backoff: Backoff;
  /** Held back by its wire for a time: not sent earlier, even if others are. */
  held: boolean;
  timer: Timer | undefined;
}

/**
 * Delivers outcomes from the outbox to their server: put → (held) → ready → sending → acknowledged and forgotten, or backing off → ready
 * again. Each outcome has at most one request in flight and its own back-off, so one that is refused repeatedly does not hold up the
 * others. Outcomes that an earlier process left in the outbox are sent with the first `sendAll`.
 */
export class OutcomeSender {
  readonly #options: OutcomeSenderOptions;
  readonly #parcels = new Map<string, Parcel>();
  /** Outcomes that may be sent, in order. */
  readonly #ready = new Set<Parcel>();
  #sending = false;
  #flushing = false;
  #closed = false;

  constructor(options: OutcomeSenderOptions) {
    this.#options = options;
  }

  /**
   * Queues an outcome. Resolves once it is safe: on disk, or with the server. It is not sent before `holdMs` have passed, unless `close` or
   * `flush` needs it sooner.
   */
  deliver(settlement: Settlement, holdMs = 0): Promise<void> {
    const safe = this.#options.outbox.put(settlement);
    const parcel = this.#add(settlement);
    if (holdMs > 0 && !this.#flushing) this.#delay(parcel, holdMs, true);
    else this.#ready.add(parcel);
    this.wake();
    return safe;
  }

  /** Called when the server is reachable: sends everything that is neither in flight nor held. */
  sendAll(): void {
    for (const settlement of this.#options.outbox.pending())
      if (!this.#parcels.has(leaseKeyOf(settlement))) this.#ready.add(this.#add(settlement));
    for (const parcel of this.#parcels.values()) if (!parcel.held) this.#release(parcel);
    this.wake();
  }

  /** Called when outcomes that could not be sent can be sent now. */
  wake(): void {
    if (this.#sending || this.#closed) return;
    this.#sending = true;
    for (const parcel of this.#ready) {
      const answer = this.#begin(parcel.settlement);
      if (answer === undefined) break;
      this.#ready.delete(parcel);
      void this.#follow(parcel, answer);
    }
    this.#sending = false;
  }

  /** Returns the held outcomes. */
  held(): Settlement[] {
    return [...this.#parcels.values()].filter(({ held }) => held).map(({ settlement }) => settlement);
  }

  /** Sends a held outcome now. */
  sendHeld(settlement: Settlement): void {
    const parcel = this.#parcels.get(leaseKeyOf(settlement));
    if (parcel?.held) this.#release(parcel);
    this.wake();
  }

  /** Stops holding outcomes from now on. Resolves when the outbox is empty or the signal aborts. */
  flush(signal: AbortSignal): Promise<void> {
    this.#flushing = true;
    for (const parcel of this.#parcels.values()) if (parcel.held) this.#release(parcel);
    this.wake();
    return this.#options.outbox.emptied(signal);
  }

  /** Delivers what it can within the time, then stops sending; the rest stays in the outbox. */
  async close(withinMs = 0): Promise<void> {
    if (withinMs > 0) await within({ withinMs, keepsAlive: true, clock: this.#options.clock }, (signal) => this.flush(signal));
    this.#closed = true;
    for (const { timer } of this.#parcels.values()) timer?.cancel();
  }

  #add(settlement: Settlement): Parcel {
    const { firstMs, capMs, random = Math.random } = this.#options;
    const parcel: Parcel = { settlement, backoff: new Backoff({ firstMs, capMs, random }), held: false, timer: undefined };
    this.#parcels.set(leaseKeyOf(settlement), parcel);
    return parcel;
  }

  #begin(settlement: Settlement): Promise<SendAnswer> | undefined {
    try {
      return this.#options.send(settlement);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  async #follow(parcel: Parcel, sent: Promise<SendAnswer>): Promise<void> {
    const { outbox, onEnd, onFault } = this.#options;
    const { settlement, backoff } = parcel;
    let retryAfterMs = 0;
    try {
      const answer = await sent;
      this.#parcels.delete(leaseKeyOf(settlement));
      outbox.acknowledge(settlement);
      onEnd?.(settlement, answer);
      return;
    } catch (error) {
      retryAfterMs = onFault?.(settlement, error) ?? 0;
    }
    if (!this.#closed) this.#delay(parcel, Math.max(retryAfterMs, backoff.nextMs()), false);
  }

  #delay(parcel: Parcel, ms: number, held: boolean): void {
    parcel.held = held;
    parcel.timer = this.#options.clock.after(
      ms,
      () => {
        this.#release(parcel);
        this.wake();
      },
      { unref: true },
    );
  }

  /** Makes an outcome that is backing off or held ready. One in flight has no timer. */
  #release(parcel: Parcel): void {
    if (parcel.timer === undefined) return;
    parcel.timer.cancel();
    parcel.timer = undefined;
    parcel.held = false;
    this.#ready.add(parcel);
  }
}
