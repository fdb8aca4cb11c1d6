import type { Clock, Timer } from '../../clock.js';

export interface HeartbeatOptions {
  readonly clock: Clock;
  /** Say something if nothing was said for so long. The two sides differ, so that one asks and the other only answers. */
  readonly quietMs: number;
  readonly ping: (id: number) => void;
  readonly lost: () => void;
}

export const TICK_MS = 500;
export const WORKER_QUIET_MS = 1_000;
export const MASTER_QUIET_MS = 1_500;
/** No frame for so long: the peer is gone. With the tick, a dead link is found after 3.0 to 3.5 s. */
export const SILENCE_MS = 3_000;
/** How often the round trip is measured on a link that has other things to say. */
const MEASURE_MS = 5_000;
const SMOOTHING = 1 / 8;

/**
 * Tells a dead link from a quiet one. Each side makes sure that it says something every 1.5 s at most, so three seconds of silence mean that
 * the peer is gone, however slow the link is. Silence is only counted while this process is awake: a tick that comes late, because
 * the process or the whole machine was suspended, counts as two ticks at most.
 */
export class Heartbeat {
  readonly #options: HeartbeatOptions;
  #timer: Timer | undefined;
  #tickAt: number;
  #silentMs = 0;
  #heard = false;
  #quietMs = 0;
  #sinceMeasuredMs = 0;
  #pingId = 0;
  /** Undefined while no ping is under way. */
  #pingAt: number | undefined;
  #roundTripMs: number | undefined;

  constructor(options: HeartbeatOptions) {
    this.#options = options;
    this.#tickAt = options.clock.now();
  }

  get roundTripMs(): number | undefined {
    return this.#roundTripMs;
  }

  start(): void {
    this.#ping();
    this.#arm();
  }

  stop(): void {
    this.#timer?.cancel();
  }

  heard(): void {
    this.#heard = true;
  }

  said(): void {
    this.#quietMs = 0;
  }

  pong(id: number): void {
    if (id !== this.#pingId || this.#pingAt === undefined) return;
    const sample = Math.max(0, this.#options.clock.now() - this.#pingAt);
    this.#pingAt = undefined;
    this.#roundTripMs = this.#roundTripMs === undefined ? sample : this.#roundTripMs + (sample - this.#roundTripMs) * SMOOTHING;
  }

  #arm(): void {
    this.#timer = this.#options.clock.after(TICK_MS, () => this.#tick());
  }

  #tick(): void {
    const now = this.#options.clock.now();
    const elapsedMs = Math.min(Math.max(now - this.#tickAt, 0), 2 * TICK_MS);
    this.#tickAt = now;
    // A frame starts the silence at the end of its tick, so that three seconds are never less.
    this.#silentMs = this.#heard ? 0 : this.#silentMs + elapsedMs;
    this.#heard = false;
    this.#quietMs += elapsedMs;
    this.#sinceMeasuredMs += elapsedMs;
    if (this.#silentMs >= SILENCE_MS) {
      this.#options.lost();
      return;
    }
    if (this.#quietMs >= this.#options.quietMs || this.#sinceMeasuredMs >= MEASURE_MS) this.#ping();
    this.#arm();
  }

  #ping(): void {
    this.#sinceMeasuredMs = 0;
    this.#pingId = (this.#pingId + 1) >>> 0;
    this.#pingAt = this.#options.clock.now();
    this.#options.ping(this.#pingId);
  }
}
