import { type ErrorCode, PeerworkError } from '../errors.js';

interface Flight<T> {
  readonly work: Promise<T>;
  readonly controller: AbortController;
  waiting: number;
}

/** Failures of the one who did the work that say nothing about how another would fare. */
const personal: ReadonlySet<string> = new Set<ErrorCode>([
  ...(['cancelled', 'closed', 'asset-unknown', 'link-lost', 'link-closed', 'link-timeout'] as const),
  ...(['rpc-timeout', 'rpc-cancelled', 'rpc-overloaded', 'rpc-failed'] as const),
]);

/**
 * Several callers, one piece of work: who asks for a key that is already being worked on waits for the same result.
 * A caller that aborts goes alone; the work itself is aborted when the last one has gone. A waiting caller starts the work
 * itself if it failed for a reason that lies with the first caller, such as the link that it had.
 */
export class Flights<T> {
  readonly #flights = new Map<string, Flight<T>>();
  /** Also what is aborted and not yet through with it. */
  readonly #working = new Set<Promise<T>>();

  join(key: string, signal: AbortSignal | undefined, start: (signal: AbortSignal) => Promise<T>): Promise<T> {
    if (signal?.aborted) return Promise.reject(abortError(signal));
    const others = this.#flights.get(key);
    if (others === undefined) return this.#wait(key, this.#take(key, start), signal);
    return this.#wait(key, others, signal).catch((error: unknown) => {
      if (signal?.aborted || !(error instanceof PeerworkError) || !personal.has(error.code)) throw error;
      return this.join(key, signal, start);
    });
  }

  /** Resolves when what is under way now has ended, one way or the other. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#working);
  }

  #wait(key: string, flight: Flight<T>, signal: AbortSignal | undefined): Promise<T> {
    flight.waiting += 1;
    return new Promise<T>((resolve, reject) => {
      const leave = () => {
        flight.waiting -= 1;
        if (flight.waiting === 0) {
          // A newcomer must not join work that is being torn down.
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

  #take(key: string, start: (signal: AbortSignal) => Promise<T>): Flight<T> {
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

/** The reason of an aborted signal as an error that users may see. */
export function abortError(signal: AbortSignal | undefined): PeerworkError {
  const reason: unknown = signal?.reason;
  return reason instanceof PeerworkError ? reason : new PeerworkError('cancelled', '', { cause: reason });
}
