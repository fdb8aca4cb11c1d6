import type { Clock } from '../clock.js';
import type { ErrorCode, PeerworkError } from '../errors.js';

/** A warning is repeated only after this long, or after a different one. */
const REPEAT_MS = 30_000;

/**
 * Codes that are reported only if they occur twice within REPEAT_MS. libdatachannel passes a remote description to ICE before it stores
 * the fingerprint in it: where packets travel in microseconds and the machine is busy, the peer's certificate can arrive first and is
 * then rejected (`unknown CA`). The next attempt follows at once and succeeds.
 */
const TRANSIENT: ReadonlySet<string> = new Set<ErrorCode>(['dtls-failed']);

/**
 * A small typed emitter; `Events` maps an event name to the arguments of its listeners. A listener that throws does not keep the others
 * from running: its error is rethrown in a microtask, as an uncaught exception of the process.
 */
export class Emitter<Events extends { [name in keyof Events]: readonly unknown[] }> {
  readonly #listeners = new Map<keyof Events, Set<(...args: never) => void>>();

  /** Returns a function that removes the listener. */
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

/** Decides which of the many failures of a retried operation are worth reporting. */
export class WarningFilter {
  readonly #clock: Clock;
  #last = '';
  #reportedAt = 0;
  #transient = '';
  #transientAt = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  isNew({ code }: PeerworkError): boolean {
    const now = this.#clock.now();
    if (TRANSIENT.has(code) && (this.#transient !== code || now - this.#transientAt >= REPEAT_MS)) {
      this.#transient = code;
      this.#transientAt = now;
      return false;
    }
    if (code === this.#last && now - this.#reportedAt < REPEAT_MS) return false;
    this.#last = code;
    this.#reportedAt = now;
    return true;
  }

  /** Called after a success: the next failure is reported, whatever it is. */
  reset(): void {
    this.#last = '';
    this.#transient = '';
  }
}
