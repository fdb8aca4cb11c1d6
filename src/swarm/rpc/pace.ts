import type { Clock } from '../../clock.js';

/**
 * Queueing delay that our data may cause along the path, in addition to the path's own round trip: whatever is sent after it is delayed
 * as much. It also bridges the moments in which a busy machine does not respond, so it is not smaller, and grows a little with the round
 * trip.
 */
const QUEUE_MS = 250;
const QUEUE_SHARE = 1.5;
/** Bytes in flight before anything was measured: half a second at 1 Mbit/s. */
const FIRST_WINDOW_BYTES = 64 * 1024;
/** A link of 250 kbit/s needs half a second for it. */
const MIN_WINDOW_BYTES = 16 * 1024;
/** Beyond it the engine's own buffers are the limit. */
const MAX_WINDOW_BYTES = 4 * 1024 * 1024;
/** Marks per window. */
const MARKS = 8;
/**
 * The rate is the best of the last one or two periods of this length, or of so many unqueued round trips if that is longer: SCTP starts
 * slowly, and continues slowly after a loss.
 */
const RATE_MS = 3_000;
const RATE_ROUND_TRIPS = 8;
/** The shortest and the longest round trip are those of the last one or two periods of this length. */
const ROUND_TRIPS_MS = 15_000;
/** A peer that answers no pings gets nothing any more; it must not cost memory either. */
const MAX_MARKS = 256;
const SMOOTHING = 1 / 8;

/** A ping sent after so many bytes. */
interface Mark {
  readonly id: number;
  readonly sentBytes: number;
  readonly at: number;
  /** What had arrived at that time, and since when that is known. */
  readonly arrivedBytes: number;
  readonly arrivedAt: number;
}

/**
 * Congestion control: limits the bytes in flight on a link, so that urgent messages never wait long. The window is what the link carries
 * in a round trip, and a little more.
 *
 * The engine's own count does not help: it excludes what is in its SCTP buffer (1 MiB, eight seconds at 1 Mbit/s) and in the router's. So
 * pings travel behind the bytes, and a pong confirms that everything before it has arrived. From that follow the rate, the unqueued round
 * trip, and the window. Every 15 s of sending without a pause the queue is drained once, since the delay that it causes would otherwise
 * be mistaken for that of the path.
 */
export class Pace {
  readonly #clock: Clock;
  readonly #marks: Mark[] = [];
  readonly #rate = new RecentExtreme(Math.max);
  readonly #shortest = new RecentExtreme(Math.min);
  readonly #longest = new RecentExtreme(Math.max);
  #id = 0;
  #sentBytes = 0;
  #arrivedBytes = 0;
  #arrivedAt: number;
  #windowBytes = FIRST_WINDOW_BYTES;
  /** Value of #sentBytes up to which the sender had more to send than it was allowed to. */
  #fullUntil = 0;
  /** Value of #arrivedBytes up to which nothing may queue. */
  #drainUntil = 0;
  #roundTripMs: number | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#arrivedAt = clock.now();
  }

  /** Smoothed; undefined before the first pong. */
  get roundTripMs(): number | undefined {
    return this.#roundTripMs;
  }

  /** The longest recent round trip; 0 before the first. */
  get longestMs(): number {
    return this.#longest.value ?? 0;
  }

  /** Throughput while there was more to send than the link carries; undefined if that was never the case. */
  get bytesPerMs(): number | undefined {
    return this.#fullUntil > 0 ? this.#rate.value : undefined;
  }

  now(): number {
    return this.#clock.now();
  }

  get arrivedBytes(): number {
    return this.#arrivedBytes;
  }

  get windowBytes(): number {
    if (this.#arrivedBytes >= this.#drainUntil) return this.#windowBytes;
    return Math.min(this.#windowBytes, Math.max(MIN_WINDOW_BYTES, (this.#rate.value ?? 0) * (this.#shortest.value ?? 0)));
  }

  /** Bytes that may be sent now. */
  get roomBytes(): number {
    return this.windowBytes - (this.#sentBytes - this.#arrivedBytes);
  }

  /** Bytes that may be sent in one piece, which is a fraction of the window, so that no piece takes long. */
  get pieceBytes(): number {
    return this.#windowBytes / MARKS;
  }

  /** Whether a ping should follow the next bytes. */
  isDue(bytes: number): boolean {
    return this.#sentBytes + bytes - (this.#marks.at(-1)?.sentBytes ?? this.#arrivedBytes) >= this.pieceBytes;
  }

  /** Notes that the sender has more to send than it may. Returns true if no pending pong could allow it, so that a ping must be sent. */
  full(): boolean {
    this.#fullUntil = this.#sentBytes;
    return this.#marks.length === 0;
  }

  sent(bytes: number): void {
    if (this.#sentBytes === this.#arrivedBytes) this.#arrivedAt = this.#clock.now();
    this.#sentBytes += bytes;
  }

  /** Records a ping after everything that was sent, and returns its id. */
  mark(): number {
    this.#id = (this.#id + 1) >>> 0;
    const { sentBytes, arrivedBytes, arrivedAt } = {
      sentBytes: this.#sentBytes,
      arrivedBytes: this.#arrivedBytes,
      arrivedAt: this.#arrivedAt,
    };
    if (this.#marks.length === MAX_MARKS) this.#marks.shift();
    this.#marks.push({ id: this.#id, sentBytes, at: this.#clock.now(), arrivedBytes, arrivedAt });
    return this.#id;
  }

  /** Handles a pong; an unknown id is ignored. */
  pong(id: number): void {
    const at = this.#marks.findIndex((mark) => mark.id === id);
    const mark = this.#marks[at];
    if (mark === undefined) return;
    this.#marks.splice(0, at + 1);
    const now = this.#clock.now();
    this.#measure(Math.max(0, now - mark.at), now);
    const full = mark.sentBytes <= this.#fullUntil;
    const rate = (mark.sentBytes - mark.arrivedBytes) / Math.max(1, now - mark.arrivedAt);
    this.#arrivedBytes = mark.sentBytes;
    this.#arrivedAt = now;
    this.#updateWindow(rate, full, now);
  }

  #measure(roundTripMs: number, now: number): void {
    this.#roundTripMs = this.#roundTripMs === undefined ? roundTripMs : this.#roundTripMs + (roundTripMs - this.#roundTripMs) * SMOOTHING;
    this.#longest.add(roundTripMs, now, ROUND_TRIPS_MS);
    // A shortest round trip that was not seen again for this long may have grown; our own queue must not be what hides it.
    if (this.#shortest.add(roundTripMs, now, ROUND_TRIPS_MS) && this.#fullUntil > this.#arrivedBytes) this.#drainUntil = this.#sentBytes;
  }

  /** Sending with pauses does not measure the capacity of the link, unless the rate exceeds the one known. */
  #updateWindow(rate: number, full: boolean, now: number): void {
    if (rate <= 0) return;
    const windowMs = (this.#shortest.value ?? 0) * QUEUE_SHARE + QUEUE_MS;
    // The assumed rate holds until enough was measured.
    if (this.#rate.value === undefined) this.#rate.raise(FIRST_WINDOW_BYTES / windowMs, now);
    if (full) this.#rate.add(rate, now, Math.max(RATE_MS, RATE_ROUND_TRIPS * (this.#shortest.value ?? 0)));
    else this.#rate.raise(rate, now);
    const carried = (this.#rate.value ?? 0) * windowMs;
    const window = Math.min(MAX_WINDOW_BYTES, Math.max(MIN_WINDOW_BYTES, carried));
    this.#windowBytes = full ? window : Math.max(this.#windowBytes, window);
  }
}

/** The recent maximum or minimum: of the current period and the one before. */
class RecentExtreme {
  readonly #better: (a: number, b: number) => number;
  #before: number | undefined;
  #current: number | undefined;
  #since = 0;

  constructor(better: (a: number, b: number) => number) {
    this.#better = better;
  }

  get value(): number | undefined {
    if (this.#before === undefined || this.#current === undefined) return this.#current ?? this.#before;
    return this.#better(this.#before, this.#current);
  }

  /** Returns true if the value begins another period. */
  add(value: number, now: number, lengthMs: number): boolean {
    const isNew = this.#current === undefined || Math.abs(now - this.#since) >= lengthMs;
    const isLater = isNew && this.#current !== undefined;
    if (isNew) {
      this.#before = this.#current;
      this.#current = value;
      this.#since = now;
    } else this.raise(value, now);
    return isLater;
  }

  /** Counts only if it is better. */
  raise(value: number, now: number): void {
    if (this.#current === undefined) this.#since = now;
    this.#current = this.#current === undefined ? value : this.#better(this.#current, value);
  }
}
