import type { Clock, Timer } from '../../../clock.js';
import { asPeerworkError, type PeerworkError } from '../../../errors.js';
import { Backoff } from '../../../kit/backoff.js';
import type { HeartbeatReply } from './shapes.js';

export interface HeartbeatOptions {
  readonly beatMs: number;
  readonly clock: Clock;
  /** Tells the API how this Worker is. */
  readonly beat: () => Promise<HeartbeatReply>;
  /** Comes after a beat that was answered; the next beat waits for it. Must not reject. */
  readonly onAnswer: (reply: HeartbeatReply) => Promise<void>;
  readonly onFault: (error: PeerworkError) => void;
  /** Looks whether there is another key now. */
  readonly refresh: () => boolean;
}

const MAX_REFUSED_MS = 300_000;

/**
 * Beats at a steady pace, never two at once: a beat that is due while the last one still runs is left out. After a refusal the pauses grow up
 * to five minutes, unless there is a new key.
 */
export class Heartbeat {
  /** Resolves when the first beat was answered, or was not. */
  readonly first: Promise<void>;
  readonly #options: HeartbeatOptions;
  #timer: Timer | undefined;
  #busy = false;
  #closed = false;
  #refusedUntil = 0;
  readonly #backoff: Backoff;
  #onFirst: () => void = () => {};

  constructor(options: HeartbeatOptions) {
    this.#options = options;
    this.#backoff = new Backoff({ firstMs: options.beatMs, capMs: Math.max(options.beatMs, MAX_REFUSED_MS) });
    this.first = new Promise((resolve) => {
      this.#onFirst = resolve;
    });
    this.#tick();
  }

  /** False while the API refuses the key. */
  get welcome(): boolean {
    return this.#backoff.failures === 0;
  }

  /** The API refused the key: here, or somewhere else. */
  refuse(): void {
    this.#refusedUntil = this.#options.clock.now() + this.#backoff.nextMs();
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#onFirst();
  }

  #tick(): void {
    const { clock, beatMs } = this.#options;
    if (this.#closed) return;
    this.#timer = clock.after(beatMs, () => this.#tick(), { unref: true });
    if (this.#busy) return;
    if (clock.now() < this.#refusedUntil && !this.#options.refresh()) return;
    void this.#beat();
  }

  async #beat(): Promise<void> {
    const { beat, onAnswer, onFault } = this.#options;
    this.#busy = true;
    try {
      const reply = await beat();
      this.#backoff.reset();
      this.#refusedUntil = 0;
      this.#onFirst();
      if (!this.#closed) await onAnswer(reply);
    } catch (thrown) {
      const error = asPeerworkError(thrown);
      if (error.code === 'dory-key-refused') this.refuse();
      if (!this.#closed) onFault(error);
    } finally {
      this.#busy = false;
      this.#onFirst();
    }
  }
}
