import type { Clock, Timer } from '../clock.js';

/** Between two checks more can be written than allowed; the kernel limits a single file. */
const POLL_INTERVAL_MS = 250;
/** Checks take no more than a quarter of the time, however many files there are. */
const REST_PER_LOOK = 3;

/** Checks what is on the disk periodically, until `look` returns that the limit is exceeded, or `stop` is called. */
export class DiskWatch {
  readonly #clock: Clock;
  readonly #look: () => Promise<boolean>;
  #timer: Timer | undefined;
  #stopped = false;

  constructor(clock: Clock, look: () => Promise<boolean>) {
    this.#clock = clock;
    this.#look = look;
    this.#wait(POLL_INTERVAL_MS);
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  #wait(ms: number): void {
    this.#timer = this.#clock.after(ms, () => void this.#next(), { unref: true });
  }

  async #next(): Promise<void> {
    const startedAt = this.#clock.now();
    const over = await this.#look().catch(() => false);
    if (!over && !this.#stopped) this.#wait(Math.max(POLL_INTERVAL_MS, REST_PER_LOOK * (this.#clock.now() - startedAt)));
  }
}
