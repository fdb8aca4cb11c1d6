import type { Clock, Timer } from '../../src/clock.js';

interface Entry {
  readonly at: number;
  readonly action: () => void;
}

/** A clock whose time passes only on demand. */
export class ManualClock implements Clock {
  #now = 1_000_000;
  readonly #entries = new Set<Entry>();

  now(): number {
    return Math.round(this.#now);
  }

  wall(): number {
    return this.now();
  }

  after(delayMs: number, action: () => void): Timer {
    const entry = { at: this.#now + Math.max(0, delayMs), action };
    this.#entries.add(entry);
    return { cancel: () => this.#entries.delete(entry) };
  }

  /** Fires timers one by one at their times; whatever they trigger runs in between. */
  async pass(durationMs: number): Promise<void> {
    const endAt = this.#now + durationMs;
    for (let next = this.#next(); next !== undefined && next.at <= endAt; next = this.#next()) {
      this.#now = Math.max(this.#now, next.at);
      this.#entries.delete(next);
      next.action();
      await turn();
    }
    this.#now = endAt;
    await turn();
  }

  /** Simulates that the process or the machine was suspended: no timer fires meanwhile. */
  jump(durationMs: number): void {
    this.#now += durationMs;
  }

  #next(): Entry | undefined {
    let first: Entry | undefined;
    for (const entry of this.#entries) if (first === undefined || entry.at < first.at) first = entry;
    return first;
  }
}

/** Waits enough turns of the event loop for a message and its reply. */
export async function turn(times = 3): Promise<void> {
  for (let count = 0; count < times; count++) await new Promise((resolve) => setImmediate(resolve));
}
