import { asPeerworkError, type PeerworkError } from '../../errors.js';
import type { DistributedRun } from './shapes.js';

/** Looks for runs to help with, but only while somebody waits for one: whoever has no place free does not ask the API. */
export class Discovery {
  readonly #list: () => Promise<readonly DistributedRun[]>;
  #waiting: ((runs: readonly DistributedRun[] | undefined) => void) | undefined;

  constructor(list: () => Promise<readonly DistributedRun[]>) {
    this.#list = list;
  }

  /** The runs that the next successful look finds; undefined when the signal aborts. */
  next(signal: AbortSignal): Promise<readonly DistributedRun[] | undefined> {
    if (signal.aborted) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      const taker = (runs: readonly DistributedRun[] | undefined) => {
        signal.removeEventListener('abort', withdraw);
        if (this.#waiting === taker) this.#waiting = undefined;
        resolve(runs);
      };
      const withdraw = () => taker(undefined);
      signal.addEventListener('abort', withdraw);
      this.#waiting = taker;
    });
  }

  /** Never rejects. */
  async look(
    joinable: (runs: readonly DistributedRun[]) => readonly DistributedRun[],
    onFault: (error: PeerworkError) => void,
  ): Promise<void> {
    if (this.#waiting === undefined) return;
    try {
      const runs = joinable(await this.#list());
      if (runs.length > 0) this.#waiting?.(runs);
    } catch (thrown) {
      onFault(asPeerworkError(thrown));
    }
  }
}
