import type { Clock } from '../../clock.js';
import { MAX_AGE_MS } from './packet.js';

/** Twice the age at which packets are dropped anyway. */
const FORGET_MS = 2 * MAX_AGE_MS;
const MAX_SEEN = 100_000;

/** The ids of messages that came already: everybody sends on what it sees, so most come more than once. */
export class SeenMessages {
  readonly #clock: Clock;
  /** Oldest first. */
  readonly #seen = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** False if it was there already. */
  add(id: string): boolean {
    if (this.#seen.has(id)) return false;
    const now = this.#clock.now();
    this.#seen.set(id, now);
    for (const [oldest, at] of this.#seen) {
      if (this.#seen.size <= MAX_SEEN && now - at < FORGET_MS) break;
      this.#seen.delete(oldest);
    }
    return true;
  }
}
