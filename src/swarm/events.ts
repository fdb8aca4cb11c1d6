import type { Clock } from '../clock.js';
import type { ErrorCode, PeerworkError } from '../errors.js';

/** The same warning is told again only after this long, or after another one. */
const REPEAT_MS = 30_000;

/**
 * Told only when it comes a second time within REPEAT_MS. libdatachannel hands a remote description to ICE before it notes the fingerprint
 * that stands in it: where packets travel in microseconds and the machine is busy, the peer's certificate can be there first, and is then
 * refused (`unknown CA`). The next attempt follows at once and gets through.
 */
const PASSING: ReadonlySet<string> = new Set<ErrorCode>(['dtls-failed']);

/**
 * A small typed emitter: `Events` maps a name to the arguments of its listeners. A listener that throws does not keep the
 * others from hearing: its error is thrown later, where only the process sees it.
 */
export class Emitter<Events extends { [name in keyof Events]: readonly unknown[] }> {
  readonly #listeners = new Map<keyof Events, Set<(...args: never) => void>>();

  /** Returns a function that takes the listener off again. */
  on<Name extends keyof Events>(name: Name, listener: (...args: Events[Name]) => void): () => void {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  once<Name extends keyof Events>(name: Name, listener: (...args: Events[Name]) => void): () => void {
    const off = this.on(name, (...args) => {
      off();
      listener(...args);
    });
    return off;
  }

  protected emit<Name extends keyof Events>(name: Name, ...args: Events[Name]): void {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) {
      try {
        (listener as unknown as (...args: Events[Name]) => void)(...args);
      } catch (thrown) {
        queueMicrotask(() => {
          throw thrown;
        });
      }
    }
  }
}

/** Decides which of the many failures of a retried undertaking are worth telling. */
export class WarningFilter {
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
