import type { Clock } from '../clock.js';
import type { ErrorCode, PeerworkError } from '../errors.js';

/** The same trouble is told again only after this long, or after another one. */
const REPEAT_MS = 30_000;

/**
 * Told only when it comes a second time within REPEAT_MS. libdatachannel hands a remote description to ICE before it notes the fingerprint
 * that stands in it: where packets travel in microseconds and the machine is busy, the peer's certificate can be there first, and is then
 * refused (`unknown CA`). The next attempt follows at once and gets through.
 */
const PASSING: ReadonlySet<ErrorCode> = new Set(['dtls-failed']);

/** Decides which of the many failures of a retried undertaking are worth telling. */
export class TroubleFilter {
  readonly #clock: Clock;
  #last = '';
  #toldAt = 0;
  #passing = '';
  #passedAt = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  isNews({ code }: PeerworkError): boolean {
    const now = this.#clock.now();
    if (PASSING.has(code) && (this.#passing !== code || now - this.#passedAt >= REPEAT_MS)) {
      this.#passing = code;
      this.#passedAt = now;
      return false;
    }
    if (code === this.#last && now - this.#toldAt < REPEAT_MS) return false;
    this.#last = code;
    this.#toldAt = now;
    return true;
  }

  /** All is well again: the next failure is news, whatever it is. */
  reset(): void {
    this.#last = '';
    this.#passing = '';
  }
}
