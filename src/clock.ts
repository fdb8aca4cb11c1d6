/**
 * Time as a constructor argument, so that tests can move it. All instants are integer milliseconds since the epoch
 * (`…At`), all durations integer milliseconds (`…Ms`).
 *
 * There are two readings, because the clock of a machine is set now and then: by its owner, by NTP, by an hour or, on a board without a battery
 * clock, by half a century. What is left of a lease, a back-off or a limit must not change with it.
 */
export interface Clock {
  /**
   * For durations, which is nearly everything: goes on evenly whatever happens to the clock of the machine, while it is suspended too. An
   * instant only within this process: it is what the clock showed when the process began, and the time since then.
   */
  now(): number;
  /** What the clock of the machine shows: for what people, files, certificates and other programs are told. It may jump, either way. */
  wall(): number;
  /**
   * Calls `action` once after `delayMs`, not counting suspension, and after 24 days at the latest; a pending timer keeps the process alive unless `unref`
   * is true.
   */
  after(delayMs: number, action: () => void, options?: { unref?: boolean }): Timer;
}

export interface Timer {
  cancel(): void;
}

/** The readings that a steady time is made of, in milliseconds. */
export interface Readings {
  wall(): number;
  /** Never goes back and never jumps; stands still while the machine is suspended. */
  monotonic(): number;
  /** Since the machine was started, suspension included; 0 if nobody knows. Coarse, and costly to ask. */
  uptime(): number;
}

/** A difference between wall clock and monotonic one that changed by so much: a jump, or the end of a suspension. NTP corrects less by small steps. */
const MOVED_MS = 500;

/**
 * `Clock.now` from the readings of a machine. Monotonic time stands still in suspension, as the wall clock does not: so when these two
 * have parted, the uptime decides for how long the machine slept. What is left of the difference is a wall clock that was set.
 */
export class SteadyTime {
  readonly #readings: Readings;
  readonly #monotonicFrom: number;
  readonly #uptimeFrom: number;
  /** Added to the monotonic reading. */
  #offsetMs: number;
  #sleptMs = 0;
  #apartMs: number;

  constructor(readings: Readings) {
    this.#readings = readings;
    this.#monotonicFrom = readings.monotonic();
    this.#uptimeFrom = readings.uptime();
    this.#apartMs = readings.wall() - this.#monotonicFrom;
    this.#offsetMs = this.#apartMs;
  }

  now(): number {
    const monotonic = this.#readings.monotonic();
    const apartMs = this.#readings.wall() - monotonic;
    if (Math.abs(apartMs - this.#apartMs) > MOVED_MS) {
      this.#apartMs = apartMs;
      this.#wake(monotonic);
    }
    return Math.floor(monotonic + this.#offsetMs + this.#sleptMs);
  }

  #wake(monotonic: number): void {
    const uptime = this.#readings.uptime();
    if (uptime === 0 || this.#uptimeFrom === 0) return;
    const sleptMs = uptime - this.#uptimeFrom - (monotonic - this.#monotonicFrom);
    // The uptime is coarse, and time never goes back.
    if (sleptMs > this.#sleptMs + MOVED_MS) this.#sleptMs = sleptMs;
  }
}

/** Not imported: this file is there for browsers as well, which have no such thing. */
const os = (globalThis as { process?: { getBuiltinModule?(name: 'node:os'): { uptime(): number } } }).process?.getBuiltinModule?.(
  'node:os',
);

const steady = new SteadyTime({
  wall: () => Date.now(),
  monotonic: () => performance.now(),
  uptime: () => (os?.uptime() ?? 0) * 1_000,
});

/** With more, `setTimeout` calls at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => steady.now(),
  wall: () => Date.now(),
  after(delayMs, action, options) {
    const handle = setTimeout(action, Math.min(delayMs, MAX_TIMER_MS));
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
