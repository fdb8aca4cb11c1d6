import type { Clock } from '../../clock.js';

/**
 * Bounds of the interval that a tracker requests; DEFAULT_INTERVAL_MS if it requests none. The shortest known, wt-tracker's, is 20 s, and
 * it forgets peers after 40 s.
 */
const MIN_INTERVAL_MS = 30_000;
const DEFAULT_INTERVAL_MS = 120_000;
const MAX_INTERVAL_MS = 3_600_000;

/** Returns how long after an announce the next keep-alive announce is due. `intervalMs` as reported by the tracker. */
export function presenceMs(intervalMs: number | undefined): number {
  return Math.min(MAX_INTERVAL_MS, Math.max(MIN_INTERVAL_MS, intervalMs ?? DEFAULT_INTERVAL_MS));
}

/** Pauses requested by trackers, by URL. A pause holds for every socket of a swarm, including those opened later. */
export class TrackerPace {
  readonly #clock: Clock;
  readonly #restUntil = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Caps the pause at an hour. */
  hold(url: string, restMs: number): void {
    this.#restUntil.set(url, this.#clock.now() + Math.min(restMs, MAX_INTERVAL_MS));
  }

  /** Returns how much longer no socket may be opened to the tracker; 0 if one may. */
  restMs(url: string): number {
    const restMs = (this.#restUntil.get(url) ?? 0) - this.#clock.now();
    return Math.min(MAX_INTERVAL_MS, Math.max(0, restMs));
  }
}

/** Parses a Retry-After value (RFC 9110, 10.2.3): seconds or a date. Returns undefined if it is neither. */
export function retryAfterMs(value: string | undefined, now: number): number | undefined {
  if (value === undefined) return undefined;
  if (/^\s*\d{1,9}\s*$/.test(value)) return Number(value) * 1_000;
  const at = Date.parse(value);
  return Number.isNaN(at) ? undefined : Math.max(0, at - now);
}
