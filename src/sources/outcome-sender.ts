import type { Clock, Timer } from '../clock.js';
import { leaseKeyOf, type Settlement } from '../job/verbs.js';
import { Backoff } from '../kit/backoff.js';
import { within } from '../kit/deadline.js';
import type { Outbox } from './outbox.js';

/** `accepted`: the server has it; `stale`: the server no longer wants it. Both are final. */
export type SendAnswer = 'accepted' | 'stale';

export interface OutcomeSenderOptions {
  readonly outbox: Outbox;
  readonly clock: Clock;
  /** Numbers from 0 to below 1, for the jitter of retries. Default `Math.random`. */
  readonly random?: () => number;
  /** The delay before an outcome is sent again: doubles from `firstMs` to `capMs`, separately for each outcome. */
  readonly firstMs: number;
  readonly capMs: number;
  /**
   * Sends one outcome to the server; a rejection means a retry. Returns undefined if nothing can be sent now (the server is unreachable, the line is
   * full): this outcome and those behind it then wait for `wake`.
   */
  readonly send: (settlement: Settlement) => Promise<SendAnswer> | undefined;
  /** It is acknowledged and forgotten. */
  readonly onEnd?: (settlement: Settlement, answer: SendAnswer) => void;
  /** It could not be sent and will be retried: after at least the milliseconds that this returns, if any. */
  readonly onFault?: (settlement: Settlement, error: unknown) => number | undefined;
}

interface Parcel {
  readonly settlement: Settlement;
  readonly backoff: Backoff;
  /** Held back by its wire until a time: not sent before, whatever wakes the others. */
  held: boolean;
  timer: Timer | undefined;
}

/**
 * Carries outcomes from the outbox to their server: put → (held) → ready → sending → acknowledged and forgotten, or resting → ready again. Each
 * outcome is sent once at a time and has its own back-off: one that is refused repeatedly does not hold up the others. Outcomes of an earlier process
 * in the outbox are sent with the first `sendAll`.
 */
export class OutcomeSender {
  readonly #options: OutcomeSenderOptions;
  readonly #parcels = new Map<string, Parcel>();
  /** Those that may be sent, in order. */
  readonly #ready = new Set<Parcel>();
  #sending = false;
  #hurried = false;
  #closed = false;

  constructor(options: OutcomeSenderOptions) {
    this.#options = options;
  }

  /**
   * Resolves once the outcome is safe: on disk, or with the server. It is not sent before `holdMs` are over, unless `close` or `flush` needs it
   * sooner.
   */
  deliver(settlement: Settlement, holdMs = 0): Promise<void> {
    const safe = this.#options.outbox.put(settlement);
    const parcel = this.#add(settlement);
    if (holdMs > 0 && !this.#hurried) this.#rest(parcel, holdMs, true);
    else this.#ready.add(parcel);
    this.wake();
    return safe;
  }

  /** The server is reachable: everything is sent that is not in transit or held. */
  sendAll(): void {
    for (const settlement of this.#options.outbox.pending())
      if (!this.#parcels.has(leaseKeyOf(settlement))) this.#ready.add(this.#add(settlement));
    for (const parcel of this.#parcels.values()) if (!parcel.held) this.#release(parcel);
    this.wake();
  }

  /** Outcomes that could not be sent can be sent now. */
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

  /** The held ones. */
  held(): Settlement[] {
    return [...this.#parcels.values()].filter(({ held }) => held).map(({ settlement }) => settlement);
  }

  /** Sends a held one now. */
  sendHeld(settlement: Settlement): void {
    const parcel = this.#parcels.get(leaseKeyOf(settlement));
    if (parcel?.held) this.#release(parcel);
    this.wake();
  }

  /** Nothing is held from now on. Resolves when the outbox is empty, or the signal aborts. */
  flush(signal: AbortSignal): Promise<void> {
    this.#hurried = true;
    for (const parcel of this.#parcels.values()) if (parcel.held) this.#release(parcel);
    this.wake();
    return this.#options.outbox.emptied(signal);
  }

  /** Delivers what it can within the time, then sends nothing more; the outbox keeps the rest. */
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
    if (!this.#closed) this.#rest(parcel, Math.max(retryAfterMs, backoff.nextMs()), false);
  }

  #rest(parcel: Parcel, ms: number, held: boolean): void {
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

  /** A resting or held outcome may be sent; one in transit has no timer. */
  #release(parcel: Parcel): void {
    if (parcel.timer === undefined) return;
    parcel.timer.cancel();
    parcel.timer = undefined;
    parcel.held = false;
    this.#ready.add(parcel);
  }
}
