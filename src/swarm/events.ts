import type { Clock } from '../clock.js';
import type { ErrorCode, PeerworkError } from '../errors.js';

/** A warning is repeated only after this long, whatever else is reported in between. */
const REPEAT_MS = 30_000;
/** Limit on remembered codes; the least recently reported is forgotten first. */
const MAX_CODES = 64;

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
  readonly #reportedAt = new Map<string, number>();
  readonly #transientAt = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  isNew({ code }: PeerworkError): boolean {
    const now = this.#clock.now();
    if (TRANSIENT.has(code) && !isRecent(this.#transientAt.get(code), now)) {
      this.#transientAt.set(code, now);
      return false;
    }
    if (isRecent(this.#reportedAt.get(code), now)) return false;
    this.#reportedAt.delete(code);
    this.#reportedAt.set(code, now);
    for (const oldest of this.#reportedAt.keys()) if (this.#reportedAt.size > MAX_CODES) this.#reportedAt.delete(oldest);
    return true;
  }

  /** Called after a success: the next failure is reported, whatever it is. */
  reset(): void {
    this.#reportedAt.clear();
    this.#transientAt.clear();
  }
}

function isRecent(at: number | undefined, now: number): boolean {
  return at !== undefined && now - at < REPEAT_MS;
}
