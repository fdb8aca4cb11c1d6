import { type ErrorCode, PeerworkError } from '../errors.js';

interface Flight<T> {
  readonly work: Promise<T>;
  readonly controller: AbortController;
  waiting: number;
}

/** Failures that are specific to the caller that did the work and say nothing about how another would fare. */
const callerSpecific: ReadonlySet<string> = new Set<ErrorCode>([
  ...(['cancelled', 'closed', 'asset-unknown', 'link-lost', 'link-closed', 'link-timeout'] as const),
  ...(['rpc-timeout', 'rpc-cancelled', 'rpc-overloaded', 'rpc-failed'] as const),
]);

/**
 * Shares work between concurrent callers: a caller with a key that is already in progress waits for the same result. A caller that aborts
 * leaves alone; the work itself is aborted when the last one has left. If the work failed for a reason specific to the first caller, such
 * as its link, a waiting caller starts it again.
 */
export class Flights<T> {
  readonly #flights = new Map<string, Flight<T>>();
  /** Work in progress, including aborted work that has not ended yet. */
  readonly #working = new Set<Promise<T>>();

  join(key: string, signal: AbortSignal | undefined, start: (signal: AbortSignal) => Promise<T>): Promise<T> {
    if (signal?.aborted) return Promise.reject(abortError(signal));
    const existing = this.#flights.get(key);
    if (existing === undefined) return this.#wait(key, this.#start(key, start), signal);
    return this.#wait(key, existing, signal).catch((error: unknown) => {
      if (signal?.aborted || !(error instanceof PeerworkError) || !callerSpecific.has(error.code)) throw error;
      return this.join(key, signal, start);
    });
  }

  /** Resolves when all work in progress has ended, successfully or not. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#working);
  }

  #wait(key: string, flight: Flight<T>, signal: AbortSignal | undefined): Promise<T> {
    flight.waiting += 1;
    return new Promise<T>((resolve, reject) => {
      const leave = () => {
        flight.waiting -= 1;
        if (flight.waiting === 0) {
          // A new caller must not join work that is being aborted.
          if (this.#flights.get(key) === flight) this.#flights.delete(key);
          flight.controller.abort(abortError(signal));
        }
        reject(abortError(signal));
      };
      signal?.addEventListener('abort', leave, { once: true });
      const settled = () => signal?.removeEventListener('abort', leave);
      flight.work.then(
        (value) => {
          settled();
          resolve(value);
        },
        (error: unknown) => {
          settled();
          reject(error);
        },
      );
    });
  }

  #start(key: string, start: (signal: AbortSignal) => Promise<T>): Flight<T> {
    const controller = new AbortController();
    const work = start(controller.signal).finally(() => {
      this.#working.delete(work);
      if (this.#flights.get(key) === flight) this.#flights.delete(key);
    });
    this.#working.add(work);
    const flight: Flight<T> = { work, controller, waiting: 0 };
    this.#flights.set(key, flight);
    return flight;
  }
}

/** Converts the reason of an aborted signal to an error for users. */
export function abortError(signal: AbortSignal | undefined): PeerworkError {
  const reason: unknown = signal?.reason;
  return reason instanceof PeerworkError ? reason : new PeerworkError('cancelled', '', { cause: reason });
}
