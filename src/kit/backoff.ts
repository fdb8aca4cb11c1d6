import { type Clock, pause, systemClock } from '../clock.js';

export interface BackoffOptions {
  /** The wait after the first failure, in milliseconds. */
  readonly firstMs: number;
  /** No wait is longer than this, before jitter. */
  readonly capMs: number;
  /** Each wait is so many times the one before; default 2. */
  readonly factor?: number;
  /** Numbers from 0 to below 1: each wait is a quarter more or less, so that those who failed together do not return together. Default: no jitter. */
  readonly random?: (() => number) | undefined;
}

/** More doublings than this exceed any cap. */
const MAX_EXPONENT = 64;

/** The wait after so many failures in a row, 1 or more, without jitter. */
export function backoffMs(failures: number, { firstMs, capMs, factor = 2 }: BackoffOptions): number {
  return Math.min(capMs, firstMs * factor ** Math.min(failures - 1, MAX_EXPONENT));
}

/** A quarter more or less. */
export function jittered(ms: number, random: () => number): number {
  return ms * (0.75 + random() / 2);
}

/** Waits that grow with each failure until `reset`. */
export class Backoff {
  readonly #options: BackoffOptions;
  #failures = 0;

  constructor(options: BackoffOptions) {
    this.#options = options;
  }

  /** Since the start or the last `reset`. */
  get failures(): number {
    return this.#failures;
  }

  /** The wait after one more failure. */
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
  /** How often it is tried at most; default no limit. */
  readonly tries?: number;
  /** No further try after it aborts; the one under way is left to the caller. */
  readonly signal?: AbortSignal | undefined;
  /** Whether a further try may help; default always. */
  readonly isPassing?: (error: unknown) => boolean;
}

/** Resolves with the first try that succeeds; rejects with the error of the last one. */
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
