import type { Clock, Timer } from '../../clock.js';
import type { Letter } from './writer.js';

/** What moves on a link. */
export interface Movement {
  /** Of ours, with the peer. */
  readonly arrivedBytes: number;
  /** Of the peer's, in messages that come in parts. */
  readonly partBytes: number;
}

/**
 * Gives up on what a letter asked for once nothing has moved for `limitMs`.
 *
 * Until the letter is written, what moves is anything of ours: the letter waits behind it. From then on it is soon with the peer (see `Pace`), which has
 * `limitMs`, and longer only while it sends a message in parts: the answer may be that, or be behind it. It looks when the time may be over, so
 * up to twice as long may pass.
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

  /** @param limitMs 0: for ever */
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
    this.#timer = this.#clock.after(ms, () => this.#look(), { unref: true });
  }

  #look(): void {
    const now = this.#clock.now();
    const { arrivedBytes, partBytes } = this.#movement;
    const { writtenAt } = this.#letter;
    const isMoving = writtenAt === undefined ? arrivedBytes !== this.#arrivedBytes : partBytes !== this.#partBytes;
    if (isMoving) this.#movedAt = now;
    this.#arrivedBytes = arrivedBytes;
    this.#partBytes = partBytes;
    // Less than nothing: the clock was set back.
    const silentMs = Math.max(0, now - Math.max(this.#movedAt, writtenAt ?? 0));
    if (silentMs >= this.#limitMs) this.#onOver();
    else this.#wait(this.#limitMs - silentMs);
  }
}
