import { type Clock, systemClock, type Timer } from '../clock.js';

/** The slowest connection that timeouts allow for: 128 kbit/s. */
const BYTES_PER_SECOND = 16 * 1024;

export interface DeadlineOptions {
  /** Aborts with a `TimeoutError` after this long, in milliseconds; default never. */
  readonly withinMs?: number;
  /** Whether the timer keeps the process alive, for operations that must finish even if nothing else is pending. Default false. */
  readonly keepsAlive?: boolean;
  /** Aborts with the reason of the first of these signals to abort. */
  readonly signals?: readonly (AbortSignal | undefined)[];
  readonly clock?: Clock;
}

/**
 * The abort signal of one operation, released when the operation ends.
 *
 * Replaces `AbortSignal.timeout` and `AbortSignal.any`, which cannot be released. Listeners on a timeout signal are retained until
 * the timeout expires (measured: 35 to 40 kB for each page of a crawl), and a long-lived signal keeps a reference to every signal
 * derived from it.
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

  /** Aborts the signal, even after `end`. */
  abort(reason?: unknown): void {
    this.end();
    this.#controller.abort(reason);
  }

  /** Releases the signal because the operation is over: it no longer aborts unless `abort` is called. Idempotent. */
  end(): void {
    this.#timer?.cancel();
    for (const signal of this.#signals) signal.removeEventListener('abort', this.#follow);
  }

  readonly #follow = (event: Event) => this.abort((event.target as AbortSignal).reason);
}

/** Runs the operation with a signal of its own, and releases that signal when the operation ends. */
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

/** Resolves like the promise, or with undefined as soon as the signal aborts. Leaves no listener on the signal, which may be long-lived. */
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
 * Returns how many milliseconds this many bytes may take in transit, to be added to the timeout of a response. For foreign
 * connections, which do not report what has arrived; our own links track that themselves.
 */
export function carryMs(bytes: number): number {
  return Math.ceil((bytes / BYTES_PER_SECOND) * 1_000);
}
