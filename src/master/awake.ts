import type { Clock, Timer } from '../clock.js';

const TICK_MS = 500;
/** A tick this late means that this process was blocked, or the machine suspended. */
const STALL_MS = 1_000;

/** Measures how long this process was suspended or blocked: silence during that time is its own, not that of its peers. */
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

  /** Returns how long the process was suspended or blocked since the last call, in milliseconds; short stalls do not count. */
  takeStalledMs(): number {
    // The caller may run before the late tick does.
    this.#measure();
    const stalledMs = this.#stalledMs;
    this.#stalledMs = 0;
    return stalledMs;
  }

  #measure(): void {
    const now = this.#clock.now();
    const lateMs = now - this.#tickAt - TICK_MS;
    if (lateMs >= STALL_MS) this.#stalledMs += lateMs;
    if (lateMs >= 0) this.#tickAt = now;
  }

  #arm(): void {
    this.#timer = this.#clock.after(
      TICK_MS,
      () => {
        this.#measure();
        this.#arm();
      },
      { unref: true },
    );
  }
}
