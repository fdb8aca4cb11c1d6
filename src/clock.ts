/**
 * Time as a constructor argument, so that tests can control it. Instants are integer milliseconds since the epoch (`…At`), durations are
 * integer milliseconds (`…Ms`).
 *
 * There are two readings because a machine's clock gets set now and then: by its owner, by NTP, by an hour, or by half a century on a
 * board without a battery-backed clock. Remaining lease time, back-off and limits must not change with it.
 */
export interface Clock {
  /**
   * Steady time, for durations, which is nearly everything: it advances evenly whatever happens to the machine's clock, and also
   * while the machine is suspended. Its readings are instants only within this process: the wall clock at process start plus the
   * time elapsed since.
   */
  now(): number;
  /** The machine's wall clock, for what people, files, certificates and other programs see. It may jump in either direction. */
  wall(): number;
  /**
   * Calls `action` once after `delayMs`, not counting suspension, and after 24 days at the latest. A pending timer keeps the
   * process alive unless `unref` is true.
   */
  after(delayMs: number, action: () => void, options?: { unref?: boolean }): Timer;
}

/** A pending timer. */
export interface Timer {
  cancel(): void;
}

/** The readings that steady time is computed from, in milliseconds. */
export interface Readings {
  wall(): number;
  /** Never goes back and never jumps; pauses while the machine is suspended. */
  monotonic(): number;
  /** Time since boot, including suspension; 0 if unknown. Coarse, and expensive to read. */
  uptime(): number;
}

/**
 * A change of this size between wall clock and monotonic clock is a jump or the end of a suspension. NTP corrects smaller errors by
 * slewing.
 */
const MOVED_MS = 500;

/**
 * Implements `Clock.now` on a machine's readings. Monotonic time pauses during suspension and the wall clock does not, so when the
 * two drift apart the uptime shows how long the machine slept. Whatever difference remains comes from a wall clock that was set.
 */
export class SteadyTime {
  readonly #readings: Readings;
  readonly #monotonicFrom: number;
  readonly #uptimeFrom: number;
  /** Added to the monotonic reading. */
  #offsetMs: number;
  #sleptMs = 0;
  #driftMs: number;

  constructor(readings: Readings) {
    this.#readings = readings;
    this.#monotonicFrom = readings.monotonic();
    this.#uptimeFrom = readings.uptime();
    this.#driftMs = readings.wall() - this.#monotonicFrom;
    this.#offsetMs = this.#driftMs;
  }

  now(): number {
    const monotonic = this.#readings.monotonic();
    const driftMs = this.#readings.wall() - monotonic;
    if (Math.abs(driftMs - this.#driftMs) > MOVED_MS) {
      this.#driftMs = driftMs;
      this.#addSleep(monotonic);
    }
    return Math.floor(monotonic + this.#offsetMs + this.#sleptMs);
  }

  #addSleep(monotonic: number): void {
    const uptime = this.#readings.uptime();
    if (uptime === 0 || this.#uptimeFrom === 0) return;
    const sleptMs = uptime - this.#uptimeFrom - (monotonic - this.#monotonicFrom);
    // The uptime is coarse, and steady time must never go back.
    if (sleptMs > this.#sleptMs + MOVED_MS) this.#sleptMs = sleptMs;
  }
}

/** Looked up at run time, not imported: browsers load this file too, and have no `node:os`. */
const os = (globalThis as { process?: { getBuiltinModule?(name: 'node:os'): { uptime(): number } } }).process?.getBuiltinModule?.(
  'node:os',
);

const steady = new SteadyTime({
  wall: () => Date.now(),
  monotonic: () => performance.now(),
  uptime: () => (os?.uptime() ?? 0) * 1_000,
});

/** `setTimeout` fires immediately for any longer delay. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** The clock of this process: steady time from the system's own readings. */
export const systemClock: Clock = {
  now: () => steady.now(),
  wall: () => Date.now(),
  after(delayMs, action, options) {
    const handle = setTimeout(action, Math.min(delayMs, MAX_TIMER_MS));
    if (options?.unref && typeof handle === 'object') handle.unref();
    return { cancel: () => clearTimeout(handle) };
  },
};

/** Resolves after `delayMs`, or without an error as soon as the signal aborts. */
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
