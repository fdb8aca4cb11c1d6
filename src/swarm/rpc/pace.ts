import type { Clock } from '../../clock.js';

/**
 * How long what we send may wait somewhere on its way, beyond the time that the way takes: what comes behind it waits as long. It also bridges the
 * moments in which a busy machine does not answer, so it is not less, and grows a little with the way.
 */
const QUEUE_MS = 250;
const QUEUE_SHARE = 1.5;
/** Under way at most before anything was measured: half a second of 1 Mbit/s. */
const FIRST_WINDOW_BYTES = 64 * 1024;
/** A line of 250 kbit/s needs half a second for it. */
const MIN_WINDOW_BYTES = 16 * 1024;
/** Beyond, the engine's own buffers are the limit. */
const MAX_WINDOW_BYTES = 4 * 1024 * 1024;
/** A window is told of by so many marks. */
const MARKS = 8;
/** The rate is the best of the last one or two of these, and of at least so many round trips without a queue: SCTP begins slowly, and goes on slowly after a loss. */
const RATE_MS = 3_000;
const RATE_ROUND_TRIPS = 8;
/** The shortest and the longest round trip are those of the last one or two of these. */
const ROUND_TRIPS_MS = 15_000;
/** A peer that answers no pings gets nothing any more; it must not cost memory either. */
const MAX_MARKS = 256;
const SMOOTHING = 1 / 8;

/** A ping behind so many bytes. */
interface Mark {
  readonly id: number;
  readonly sentBytes: number;
  readonly at: number;
  /** What had arrived then, and since when that is known. */
  readonly arrivedBytes: number;
  readonly arrivedAt: number;
}

/**
 * How much may be under way on a link, so that what must not wait never waits long: as much as the line carries in a round trip, and a little more.
 *
 * The engine's own count does not help: it forgets what lies in its SCTP buffer (1 MiB, eight seconds of a line of 1 Mbit/s) and in the router's.
 * So pings go along behind the bytes, and a pong says that all before it has arrived. From that come the rate, the round trip without a
 * queue, and the window. Every 15 s of sending without a pause the queue is let run dry once, else what it takes would be taken for the way.
 */
export class Pace {
  readonly #clock: Clock;
  readonly #marks: Mark[] = [];
  readonly #rate = new Extreme(Math.max);
  readonly #shortest = new Extreme(Math.min);
  readonly #longest = new Extreme(Math.max);
  #id = 0;
  #sentBytes = 0;
  #arrivedBytes = 0;
  #arrivedAt: number;
  #windowBytes = FIRST_WINDOW_BYTES;
  /** Up to here the sender had more to send than it might. */
  #fullUntil = 0;
  /** Until so much has arrived, nothing may wait. */
  #dryUntil = 0;
  #roundTripMs: number | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#arrivedAt = clock.now();
  }

  /** Smoothed; undefined before the first pong. */
  get roundTripMs(): number | undefined {
    return this.#roundTripMs;
  }

  /** The longest of late, 0 before the first. */
  get longestMs(): number {
    return this.#longest.value ?? 0;
  }

  /** What the line carried when there was more to send than it carries; undefined if that was never so. */
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
    if (this.#arrivedBytes >= this.#dryUntil) return this.#windowBytes;
    return Math.min(this.#windowBytes, Math.max(MIN_WINDOW_BYTES, (this.#rate.value ?? 0) * (this.#shortest.value ?? 0)));
  }

  /** What may be sent now. */
  get roomBytes(): number {
    return this.windowBytes - (this.#sentBytes - this.#arrivedBytes);
  }

  /** How much may be sent at once, so that it never takes long: a part of the window. */
  get pieceBytes(): number {
    return this.#windowBytes / MARKS;
  }

  /** Whether a ping should go behind the next bytes. */
  isDue(bytes: number): boolean {
    return this.#sentBytes + bytes - (this.#marks.at(-1)?.sentBytes ?? this.#arrivedBytes) >= this.pieceBytes;
  }

  /** The sender would send more: true if no pong is awaited that could allow it, so that a ping must go. */
  full(): boolean {
    this.#fullUntil = this.#sentBytes;
    return this.#marks.length === 0;
  }

  sent(bytes: number): void {
    if (this.#sentBytes === this.#arrivedBytes) this.#arrivedAt = this.#clock.now();
    this.#sentBytes += bytes;
  }

  /** A ping goes behind all that was sent, with the id that this gives. */
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

  /** One that nobody waits for means nothing. */
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
    this.#follow(rate, full, now);
  }

  #measure(roundTripMs: number, now: number): void {
    this.#roundTripMs = this.#roundTripMs === undefined ? roundTripMs : this.#roundTripMs + (roundTripMs - this.#roundTripMs) * SMOOTHING;
    this.#longest.add(roundTripMs, now, ROUND_TRIPS_MS);
    // A shortest time that was not seen again for so long may have grown; what waits of ours must not be what hides it.
    if (this.#shortest.add(roundTripMs, now, ROUND_TRIPS_MS) && this.#fullUntil > this.#arrivedBytes) this.#dryUntil = this.#sentBytes;
  }

  /** What was sent with pauses says nothing about what the line would carry, unless that is more than was known. */
  #follow(rate: number, full: boolean, now: number): void {
    if (rate <= 0) return;
    const windowMs = (this.#shortest.value ?? 0) * QUEUE_SHARE + QUEUE_MS;
    // Believed until enough was measured.
    if (this.#rate.value === undefined) this.#rate.raise(FIRST_WINDOW_BYTES / windowMs, now);
    if (full) this.#rate.add(rate, now, Math.max(RATE_MS, RATE_ROUND_TRIPS * (this.#shortest.value ?? 0)));
    else this.#rate.raise(rate, now);
    const carried = (this.#rate.value ?? 0) * windowMs;
    const window = Math.min(MAX_WINDOW_BYTES, Math.max(MIN_WINDOW_BYTES, carried));
    this.#windowBytes = full ? window : Math.max(this.#windowBytes, window);
  }
}

/** The largest or the smallest of late: of a time that is under way, and of the one before. */
class Extreme {
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

  /** True if another time began with it, after an earlier one. */
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
