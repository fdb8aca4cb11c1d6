import type { Clock, Timer } from '../clock.js';

export interface WaitOptions {
  /** Ends the wait when it aborts. */
  readonly signal?: AbortSignal | undefined;
  /** Ends the wait after so long, on this clock. The timer keeps the process alive. Default: no limit. */
  readonly within?: { readonly ms: number; readonly clock: Clock } | undefined;
  /** What `count` was when the waiter last looked: a wake since then ends the wait at once, so that none is missed. */
  readonly since?: number | undefined;
}

/** A wait that others can end: `wake` ends every wait that is open, and what each waiter looks at then is its own business. */
export class Wake {
  readonly #waiting = new Set<() => void>();
  #count = 0;

  /** How often it was woken: read before looking for work, given to `wait` as `since`. */
  get count(): number {
    return this.#count;
  }

  wake(): void {
    this.#count += 1;
    for (const end of [...this.#waiting]) end();
  }

  /** Resolves with the next wake, the abort of the signal or the end of the time, whichever is first. Leaves nothing behind. */
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

  /** Resolves when the condition holds, which is looked at with each wake, or the signal aborts. */
  async until(condition: () => boolean, signal?: AbortSignal): Promise<void> {
    while (!condition() && !signal?.aborted) await this.wait({ signal });
  }
}
