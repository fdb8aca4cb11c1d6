/**
 * Time as a constructor argument, so that tests can move it. All instants are integer milliseconds since the epoch
 * (`…At`), all durations integer milliseconds (`…Ms`).
 */
export interface Clock {
  now(): number;
  /** Calls `action` once after `delayMs`; a pending timer keeps the process alive unless `unref` is true. */
  after(delayMs: number, action: () => void, options?: { unref?: boolean }): Timer;
}

export interface Timer {
  cancel(): void;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  after(delayMs, action, options) {
    const handle = setTimeout(action, delayMs);
    if (options?.unref && typeof handle === 'object') handle.unref();
    return { cancel: () => clearTimeout(handle) };
  },
};

/** Resolves after `delayMs`, or at once (without an error) when the signal aborts. */
export function pause(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  if (signal?.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const finish = () => {
      timer.cancel();
      signal?.removeEventListener('abort', finish);
      resolve();
    };
    const timer = clock.after(delayMs, finish);
    signal?.addEventListener('abort', finish);
  });
}
