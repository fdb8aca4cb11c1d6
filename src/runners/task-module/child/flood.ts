/**
 * Rate limit for lines: passes a burst and then a steady number per second, and counts the rest, so that one line can report it. Used on
 * both sides: in the child for console and process.stdout, in the parent for raw pipes.
 */
import { min } from './primordials.js';

const BURST_LINES = 500;
const LINES_PER_SECOND = 100;

export class FloodGate {
  #credit = BURST_LINES;
  #countedAt: number;
  #dropped = 0;

  constructor(now: number) {
    this.#countedAt = now;
  }

  /** Returns whether one more line may pass at `now` (milliseconds of any steady clock). */
  passes(now: number): boolean {
    if (this.#credit < BURST_LINES) {
      this.#credit = min(BURST_LINES, this.#credit + ((now - this.#countedAt) * LINES_PER_SECOND) / 1_000);
    }
    this.#countedAt = now;
    if (this.#credit < 1) {
      this.#dropped += 1;
      return false;
    }
    this.#credit -= 1;
    return true;
  }

  /** Returns how many lines were dropped since the previous call. */
  takeDropped(): number {
    const dropped = this.#dropped;
    this.#dropped = 0;
    return dropped;
  }
}
