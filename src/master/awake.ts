import type { Clock, Timer } from '../clock.js';

const TICK_MS = 500;
/** A tick that is so late was kept from its turn by this process itself, or by the machine. */
const STALL_MS = 1_000;

/** Watches for how long this process stood still: silence in that time is its own, not that of others. */
export class Awake {
  readonly #clock: Clock;
  #timer: Timer | undefined;
  #tickAt = 0;
  #stalledMs = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  start(): void {
    this.#tickAt = this.#clock.now();
    this.#arm();
  }

  stop(): void {
    this.#timer?.cancel();
  }

  /** For how long it stood still since this was last asked; short stalls do not count. */
  takeStalledMs(): number {
    // Whoever asks may have its turn before the tick that is late.
    this.#look();
    const stalledMs = this.#stalledMs;
    this.#stalledMs = 0;
    return stalledMs;
  }

  #look(): void {
    const now = this.#clock.now();
    const lateMs = now - this.#tickAt - TICK_MS;
    if (lateMs >= STALL_MS) this.#stalledMs += lateMs;
    if (lateMs >= 0) this.#tickAt = now;
  }

  #arm(): void {
    this.#timer = this.#clock.after(
      TICK_MS,
      () => {
        this.#look();
        this.#arm();
      },
      { unref: true },
    );
  }
}
