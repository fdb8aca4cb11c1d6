import type { Clock, Timer } from '../../clock.js';

export interface HeartbeatOptions {
  readonly clock: Clock;
  /** Ping after this long without a sent frame. The two sides differ, so that one pings and the other only responds. */
  readonly quietMs: number;
  readonly ping: () => void;
  /** The longest recent round trip; 0 if missing. */
  readonly longestMs?: () => number;
  readonly lost: () => void;
}

const TICK_MS = 500;
export const WORKER_QUIET_MS = 1_000;
export const MASTER_QUIET_MS = 1_500;
/** Without a frame for this long, the peer counts as gone. With the tick, a dead link is detected after 3.0 to 3.5 s. */
export const SILENCE_MS = 3_000;
/**
 * Round trips added to SILENCE_MS on a link with long ones, because others fill its buffers or the peer is busy: a packet lost there is
 * retransmitted after two or three of them.
 */
const SILENT_ROUND_TRIPS = 4;
/** By then SCTP itself has given up. */
const MAX_SILENCE_MS = 20_000;
/** How often the round trip is measured on a link that is busy with other traffic. */
const MEASURE_MS = 5_000;

/**
 * Distinguishes a dead link from a quiet one. Each side sends something at least every 1.5 s (Worker) or 2 s (Master), so three seconds
 * of silence mean that the peer is gone; on a link with long round trips, more than that. Silence is counted only while this process is
 * awake: a tick that comes late, because the process or the whole machine was suspended, counts as two ticks at most.
 */
export class Heartbeat {
  readonly #options: HeartbeatOptions;
  #timer: Timer | undefined;
  #tickAt: number;
  #silentMs = 0;
  #received = false;
  #quietMs = 0;
  #sinceMeasuredMs = 0;

  constructor(options: HeartbeatOptions) {
    this.#options = options;
    this.#tickAt = options.clock.now();
  }

  start(): void {
    this.#ping();
    this.#arm();
  }

  stop(): void {
    this.#timer?.cancel();
  }

  received(): void {
    this.#received = true;
  }

  sent(): void {
    this.#quietMs = 0;
  }

  #arm(): void {
    this.#timer = this.#options.clock.after(TICK_MS, () => this.#tick());
  }

  #tick(): void {
    const now = this.#options.clock.now();
    const elapsedMs = Math.min(Math.max(now - this.#tickAt, 0), 2 * TICK_MS);
    this.#tickAt = now;
    // A frame resets the silence at the end of its tick, so that the limit is never less than three seconds.
    this.#silentMs = this.#received ? 0 : this.#silentMs + elapsedMs;
    this.#received = false;
    this.#quietMs += elapsedMs;
    this.#sinceMeasuredMs += elapsedMs;
    if (this.#silentMs >= this.#silenceLimitMs()) {
      this.#options.lost();
      return;
    }
    if (this.#quietMs >= this.#options.quietMs || this.#sinceMeasuredMs >= MEASURE_MS) this.#ping();
    this.#arm();
  }

  #ping(): void {
    this.#sinceMeasuredMs = 0;
    this.#options.ping();
  }

  #silenceLimitMs(): number {
    return Math.min(MAX_SILENCE_MS, SILENCE_MS + SILENT_ROUND_TRIPS * (this.#options.longestMs?.() ?? 0));
  }
}
