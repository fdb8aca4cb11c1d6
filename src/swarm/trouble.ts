import type { Clock } from '../clock.js';
import type { PeerworkError } from '../errors.js';

/** The same trouble is told again only after this long, or after another one. */
const REPEAT_MS = 30_000;

/** Decides which of the many failures of a retried undertaking are worth telling. */
export class TroubleFilter {
  readonly #clock: Clock;
  #last = '';
  #toldAt = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  isNews(error: PeerworkError): boolean {
    const now = this.#clock.now();
    if (error.code === this.#last && now - this.#toldAt < REPEAT_MS) return false;
    this.#last = error.code;
    this.#toldAt = now;
    return true;
  }

  /** All is well again: the next failure is news, whatever it is. */
  reset(): void {
    this.#last = '';
  }
}
