import { type Clock, systemClock, type Timer } from '../clock.js';

/** The slowest line that is reckoned with, 128 kbit/s. */
const BYTES_PER_SECOND = 16 * 1024;

export interface DeadlineOptions {
  /** Aborts after so long, with a `TimeoutError`; default never. */
  readonly withinMs?: number;
  /** Whether its timer keeps the process alive: for what must come to its end when nothing else is left to do. Default false. */
  readonly keepsAlive?: boolean;
  /** Aborts with the first of them, for its reason. */
  readonly signals?: readonly (AbortSignal | undefined)[];
  readonly clock?: Clock;
}

/**
 * The signal of one operation, which is let go when the operation is over.
 *
 * In place of `AbortSignal.timeout` and `AbortSignal.any`: nobody can let go of those. Whatever listens to a signal of a timeout is kept until the time
 * is over (measured: 35 to 40 kB for each page of a crawl), and a signal that lives long keeps a reference for each that was made of it.
 */
export class Deadline {
  readonly #controller = new AbortController();
  readonly #signals: readonly AbortSignal[];
  readonly #timer: Timer | undefined;

  constructor({ withinMs, keepsAlive = false, signals = [], clock = systemClock }: DeadlineOptions) {
    this.#signals = signals.filter((signal) => signal !== undefined);
    const aborted = this.#signals.find((signal) => signal.aborted);
    if (aborted !== undefined) this.#controller.abort(aborted.reason);
    else {
      for (const signal of this.#signals) signal.addEventListener('abort', this.#follow);
      if (withinMs !== undefined) this.#timer = clock.after(withinMs, () => this.abort(timeoutError()), { unref: !keepsAlive });
    }
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  abort(reason?: unknown): void {
    this.end();
    this.#controller.abort(reason);
  }

  /** The operation is over: the signal will not abort any more unless `abort` is called. As often as you like. */
  end(): void {
    this.#timer?.cancel();
    for (const signal of this.#signals) signal.removeEventListener('abort', this.#follow);
  }

  readonly #follow = (event: Event) => this.abort((event.target as AbortSignal).reason);
}

/** Gives the operation a signal of its own, and lets go of it when it has ended. */
export async function within<T>(options: DeadlineOptions, operation: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const deadline = new Deadline(options);
  try {
    return await operation(deadline.signal);
  } finally {
    deadline.end();
  }
}

function timeoutError(): DOMException {
  return new DOMException('The operation was aborted due to timeout', 'TimeoutError');
}

/** What the promise comes to, or undefined as soon as the signal aborts. Either way nothing is left on the signal, which may live long. */
export function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  return new Promise((resolve, reject) => {
    const giveUp = () => resolve(undefined);
    signal.addEventListener('abort', giveUp, { once: true });
    if (signal.aborted) giveUp();
    const settled = () => signal.removeEventListener('abort', giveUp);
    promise.then(resolve, reject).finally(settled);
  });
}

/**
 * How long so many bytes may be on their way: to be added to the time that an answer to them may take. For connections of others, which do not tell
 * what has arrived; our own links look at that.
 */
export function carryMs(bytes: number): number {
  return Math.ceil((bytes / BYTES_PER_SECOND) * 1_000);
}
