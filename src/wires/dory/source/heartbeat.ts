import type { Clock, Timer } from '../../../clock.js';
import { asPeerworkError, type PeerworkError } from '../../../errors.js';
import { Backoff } from '../../../kit/backoff.js';
import type { HeartbeatReply } from './shapes.js';

export interface HeartbeatOptions {
  readonly beatMs: number;
  readonly clock: Clock;
  /** Sends the state of this Worker to the API. */
  readonly beat: () => Promise<HeartbeatReply>;
  /** Called after each successful beat; the next beat waits for it. Must not reject. */
  readonly onReply: (reply: HeartbeatReply) => Promise<void>;
  readonly onFault: (error: PeerworkError) => void;
  /** Reads the credentials again; returns true if the key has changed. */
  readonly refresh: () => boolean;
}

const MAX_REFUSED_MS = 300_000;

/**
 * Sends heartbeats at a steady interval, never two at once: a beat that is due while the last one is in flight is skipped. After a rejected
 * key, the interval backs off up to five minutes, until there is a new key.
 */
export class Heartbeat {
  /** Resolves when the first beat has succeeded or failed. */
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

  /** False while the API rejects the key. */
  get accepted(): boolean {
    return this.#backoff.failures === 0;
  }

  /** Call when the API rejected the key, in this class or elsewhere. */
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
    const { beat, onReply, onFault } = this.#options;
    this.#busy = true;
    try {
      const reply = await beat();
      this.#backoff.reset();
      this.#refusedUntil = 0;
      this.#onFirst();
      if (!this.#closed) await onReply(reply);
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
