import { PeerworkError } from '../errors.js';

interface Flight<T> {
  readonly work: Promise<T>;
  readonly controller: AbortController;
  waiting: number;
}

/**
 * Several callers, one piece of work: who asks for a key that is already being worked on waits for the same result.
 * A caller that aborts goes alone; the work itself is aborted when the last one has gone.
 */
export class Flights<T> {
  readonly #flights = new Map<string, Flight<T>>();

  join(key: string, signal: AbortSignal | undefined, start: (signal: AbortSignal) => Promise<T>): Promise<T> {
    if (signal?.aborted) return Promise.reject(abortError(signal));
    const flight = this.#flights.get(key) ?? this.#take(key, start);
    flight.waiting += 1;
    return new Promise<T>((resolve, reject) => {
      const leave = () => {
        flight.waiting -= 1;
        if (flight.waiting === 0) {
          // A newcomer must not join work that is being torn down.
          if (this.#flights.get(key) === flight) this.#flights.delete(key);
          flight.controller.abort(signal?.reason);
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

  #take(key: string, start: (signal: AbortSignal) => Promise<T>): Flight<T> {
    const controller = new AbortController();
    const work = start(controller.signal).finally(() => {
      if (this.#flights.get(key) === flight) this.#flights.delete(key);
    });
    const flight: Flight<T> = { work, controller, waiting: 0 };
    this.#flights.set(key, flight);
    return flight;
  }
}

/** The reason of an aborted signal as an error that users may see. */
export function abortError(signal: AbortSignal | undefined): PeerworkError {
  const reason: unknown = signal?.reason;
  return reason instanceof PeerworkError ? reason : new PeerworkError('cancelled', '', { cause: reason });
}
