import type { Clock, Timer } from '../clock.js';

/** Between two checks more can be written than allowed; the kernel limits a single file. */
const POLL_INTERVAL_MS = 250;
/** Checks take no more than a quarter of the time, however many files there are. */
const PAUSE_PER_CHECK = 3;

/** Checks what is on the disk periodically, until `isOverLimit` returns that the limit is exceeded, or `stop` is called. */
export class DiskWatch {
  readonly #clock: Clock;
  readonly #isOverLimit: () => Promise<boolean>;
  #timer: Timer | undefined;
  #stopped = false;

  constructor(clock: Clock, isOverLimit: () => Promise<boolean>) {
    this.#clock = clock;
    this.#isOverLimit = isOverLimit;
    this.#wait(POLL_INTERVAL_MS);
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  #wait(ms: number): void {
    this.#timer = this.#clock.after(ms, () => void this.#check(), { unref: true });
  }

  async #check(): Promise<void> {
    const startedAt = this.#clock.now();
    const over = await this.#isOverLimit().catch(() => false);
    if (!over && !this.#stopped) this.#wait(Math.max(POLL_INTERVAL_MS, PAUSE_PER_CHECK * (this.#clock.now() - startedAt)));
  }
}
