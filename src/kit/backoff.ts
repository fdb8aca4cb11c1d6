import { type Clock, pause, systemClock } from '../clock.js';

export interface BackoffOptions {
  /** Delay after the first failure, in milliseconds. */
  readonly firstMs: number;
  /** Upper bound of every delay before jitter, in milliseconds. */
  readonly capMs: number;
  /** Growth per failure; default 2. */
  readonly factor?: number;
  /**
   * Returns numbers in [0, 1). Each delay then varies by up to a quarter, so that callers that failed together do not retry
   * together. Default: no jitter.
   */
  readonly random?: (() => number) | undefined;
}

/** Doubling more often than this exceeds any cap. */
const MAX_EXPONENT = 64;

/** Returns the delay in milliseconds after this many consecutive failures (1 or more), without jitter. */
export function backoffMs(failures: number, { firstMs, capMs, factor = 2 }: BackoffOptions): number {
  return Math.min(capMs, firstMs * factor ** Math.min(failures - 1, MAX_EXPONENT));
}

/** Varies a delay by up to a quarter in either direction. */
export function jittered(ms: number, random: () => number): number {
  return ms * (0.75 + random() / 2);
}

/** Delays that grow with each failure until `reset`. */
export class Backoff {
  readonly #options: BackoffOptions;
  #failures = 0;

  constructor(options: BackoffOptions) {
    this.#options = options;
  }

  /** Failures since the start or the last `reset`. */
  get failures(): number {
    return this.#failures;
  }

  /** Counts one more failure and returns the delay in milliseconds before the next attempt. */
  nextMs(): number {
    const { random } = this.#options;
    this.#failures += 1;
    const ms = backoffMs(this.#failures, this.#options);
    return random === undefined ? ms : Math.round(jittered(ms, random));
  }

  reset(): void {
    this.#failures = 0;
  }
}

interface RetryOptions {
  readonly clock?: Clock;
  readonly backoff: Backoff;
  /** Maximum number of attempts; default unlimited. */
  readonly tries?: number;
  /** No attempt starts after it aborts; the one in flight is left to the caller. */
  readonly signal?: AbortSignal | undefined;
  /** Whether another attempt may succeed; default always. */
  readonly isPassing?: (error: unknown) => boolean;
}

/** Resolves with the result of the first attempt that succeeds; rejects with the error of the last one. */
export async function retry<T>(
  operation: () => Promise<T>,
  { clock = systemClock, backoff, tries = Number.POSITIVE_INFINITY, signal, isPassing = () => true }: RetryOptions,
): Promise<T> {
  for (let left = tries - 1; ; left -= 1) {
    try {
      return await operation();
    } catch (error) {
      if (left <= 0 || signal?.aborted || !isPassing(error)) throw error;
      await pause(clock, backoff.nextMs(), signal);
      if (signal?.aborted) throw error;
    }
  }
}
