import type { Clock, Timer } from '../../clock.js';
import type { Letter } from './writer.js';

/** Progress on a link, as counters. */
export interface Movement {
  /** Bytes of ours that have reached the peer. */
  readonly arrivedBytes: number;
  /** Bytes of the peer's, in messages split into parts. */
  readonly partBytes: number;
}

/**
 * Abandons a request once nothing has moved for `limitMs`.
 *
 * Until the letter is written, any progress of ours counts, because the letter waits behind it. From then on the peer soon has it (see
 * `Pace`) and gets `limitMs`, and longer only while it sends a split message, which may be the reply or be ahead of it. The timer checks
 * only when the limit may have been reached, so up to twice as long may pass.
 */
export class Patience {
  readonly #clock: Clock;
  readonly #limitMs: number;
  readonly #letter: Letter;
  readonly #movement: Movement;
  readonly #onOver: () => void;
  #timer: Timer | undefined;
  #arrivedBytes = 0;
  #partBytes = 0;
  #movedAt: number;

  /** @param limitMs 0 for no limit */
  constructor(clock: Clock, limitMs: number, letter: Letter, movement: Movement, onOver: () => void) {
    this.#clock = clock;
    this.#limitMs = limitMs;
    this.#letter = letter;
    this.#movement = movement;
    this.#onOver = onOver;
    this.#arrivedBytes = movement.arrivedBytes;
    this.#partBytes = movement.partBytes;
    this.#movedAt = clock.now();
    if (limitMs > 0) this.#wait(limitMs);
  }

  end(): void {
    this.#timer?.cancel();
  }

  #wait(ms: number): void {
    this.#timer = this.#clock.after(ms, () => this.#check(), { unref: true });
  }

  #check(): void {
    const now = this.#clock.now();
    const { arrivedBytes, partBytes } = this.#movement;
    const { writtenAt } = this.#letter;
    const isMoving = writtenAt === undefined ? arrivedBytes !== this.#arrivedBytes : partBytes !== this.#partBytes;
    if (isMoving) this.#movedAt = now;
    this.#arrivedBytes = arrivedBytes;
    this.#partBytes = partBytes;
    // Negative if the clock was set back.
    const silentMs = Math.max(0, now - Math.max(this.#movedAt, writtenAt ?? 0));
    if (silentMs >= this.#limitMs) this.#onOver();
    else this.#wait(this.#limitMs - silentMs);
  }
}
