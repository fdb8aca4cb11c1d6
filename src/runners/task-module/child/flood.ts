/**
 * Lets a burst of lines through and then a steady few a second; counts the rest, so that one line can tell of them.
 * Used on both sides: in the child for what goes through console and process.stdout, in the parent for raw pipes.
 */
import { min } from './primordials.js';

export const BURST_LINES = 500;
export const LINES_PER_SECOND = 100;

export class FloodGate {
  #credit = BURST_LINES;
  #countedAt: number;
  #dropped = 0;

  constructor(now: number) {
    this.#countedAt = now;
  }

  /** True if one more line may pass at `now` (milliseconds on any steady clock). */
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

  /** How many lines were dropped since the last time this was asked. */
  takeDropped(): number {
    const dropped = this.#dropped;
    this.#dropped = 0;
    return dropped;
  }
}
