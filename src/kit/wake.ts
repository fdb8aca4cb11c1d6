import type { Clock, Timer } from '../clock.js';

export interface WaitOptions {
  /** Ends the wait when it aborts. */
  readonly signal?: AbortSignal | undefined;
  /** Ends the wait after this long on this clock. The timer keeps the process alive. Default: no limit. */
  readonly within?: { readonly ms: number; readonly clock: Clock } | undefined;
  /** The value of `count` when the caller last checked: a wake since then ends the wait at once, so that none is missed. */
  readonly since?: number | undefined;
}

/** A wait that others can end: `wake` ends every pending wait, and each waiter checks its own condition. */
export class Wake {
  readonly #waiting = new Set<() => void>();
  #count = 0;

  /** Number of wakes so far: read it before looking for work, and pass it to `wait` as `since`. */
  get count(): number {
    return this.#count;
  }

  /** Ends every pending wait. */
  wake(): void {
    this.#count += 1;
    for (const end of [...this.#waiting]) end();
  }

  /** Resolves on the next wake, on abort or when the time is up, whichever is first. Leaves neither timer nor listener behind. */
  wait({ signal, within, since = this.#count }: WaitOptions = {}): Promise<void> {
    if (signal?.aborted || since !== this.#count) return Promise.resolve();
    return new Promise((resolve) => {
      let timer: Timer | undefined;
      const end = () => {
        timer?.cancel();
        signal?.removeEventListener('abort', end);
        this.#waiting.delete(end);
        resolve();
      };
      this.#waiting.add(end);
      signal?.addEventListener('abort', end);
      if (within !== undefined && within.ms !== Number.POSITIVE_INFINITY) timer = within.clock.after(within.ms, end);
    });
  }

  /** Resolves when the condition holds, which is checked on each wake, or when the signal aborts. */
  async until(condition: () => boolean, signal?: AbortSignal): Promise<void> {
    while (!condition() && !signal?.aborted) await this.wait({ signal });
  }
}
