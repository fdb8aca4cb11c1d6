import type { Clock, Timer } from '../clock.js';

/**
 * Calls `onSilent` once nothing has moved for `limitMs`, or up to twice as long: it checks every `limitMs`, so activity costs
 * neither a timer nor a clock reading, and a clock that is set changes nothing. Does not keep the process alive.
 */
export class SilenceLimit {
  readonly #clock: Clock;
  readonly #limitMs: number;
  readonly #onSilent: () => void;
  #timer: Timer | undefined;
  #moved = false;

  constructor(clock: Clock, limitMs: number, onSilent: () => void) {
    this.#clock = clock;
    this.#limitMs = limitMs;
    this.#onSilent = onSilent;
  }

  /** Idempotent. */
  start(): void {
    this.#timer ??= this.#clock.after(this.#limitMs, () => this.#check(), { unref: true });
  }

  /** Records activity. */
  moved(): void {
    this.#moved = true;
  }

  stop(): void {
    this.#timer?.cancel();
  }

  #check(): void {
    if (this.#moved) {
      this.#moved = false;
      this.#timer = undefined;
      this.start();
    } else this.#onSilent();
  }
}
