import type { Clock } from '../../clock.js';

/** Bounds of the interval that a tracker asks for; what says none gets the middle. The least patient, wt-tracker, asks for 20 s and forgets after 40 s. */
const MIN_INTERVAL_MS = 30_000;
const DEFAULT_INTERVAL_MS = 120_000;
const MAX_INTERVAL_MS = 3_600_000;

/** How long after an announce the next one is due that only says "still here". `intervalMs` as the tracker says it. */
export function presenceMs(intervalMs: number | undefined): number {
  return Math.min(MAX_INTERVAL_MS, Math.max(MIN_INTERVAL_MS, intervalMs ?? DEFAULT_INTERVAL_MS));
}

/** Trackers that asked to be left alone, by URL: it holds for every socket of a swarm, and for those that are opened later. */
export class TrackerPace {
  readonly #clock: Clock;
  readonly #restUntil = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** More than an hour counts as an hour. */
  hold(url: string, restMs: number): void {
    this.#restUntil.set(url, this.#clock.now() + Math.min(restMs, MAX_INTERVAL_MS));
  }

  /** For how much longer no socket may be opened to it; 0 if it may. */
  restMs(url: string): number {
    const restMs = (this.#restUntil.get(url) ?? 0) - this.#clock.now();
    return Math.min(MAX_INTERVAL_MS, Math.max(0, restMs));
  }
}

/** The value of Retry-After (RFC 9110, 10.2.3): seconds or a date. Undefined if it is neither. */
export function retryAfterMs(value: string | undefined, now: number): number | undefined {
  if (value === undefined) return undefined;
  if (/^\s*\d{1,9}\s*$/.test(value)) return Number(value) * 1_000;
  const at = Date.parse(value);
  return Number.isNaN(at) ? undefined : Math.max(0, at - now);
}
