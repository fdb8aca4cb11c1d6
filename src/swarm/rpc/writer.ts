import { toUtf8 } from '../bytes.js';
import { HIGH_WATER_BYTES } from '../link.js';
import { MAX_FRAME_BYTES, type SealedLink } from '../sealed.js';
import { HEADER_BYTES, Kind, MORE, writeHeader } from './messages.js';
import type { Pace } from './pace.js';

/** An outgoing text message. */
export interface Letter {
  readonly kind: Kind;
  readonly id: number;
  readonly text: string;
  /** The text in UTF-8, encoded once the letter did not fit into the frame as it was. */
  bytes: Uint8Array | undefined;
  /** Number of bytes written. */
  written: number;
  /** Time of its last byte; undefined before. */
  writtenAt: number | undefined;
  state: 'waiting' | 'partly' | 'written' | 'dropped';
}

/** The message that follows the last byte of a stream. */
export interface BulkEnding {
  readonly kind: Kind;
  readonly text: string;
}

/** An outgoing byte stream. */
export interface Bulk {
  readonly id: number;
  /** Kind of the messages that carry its bytes. */
  readonly kind: Kind;
  /** Bytes that may be written now; fewer than there are while credit is lacking. */
  readonly readyBytes: number;
  /** Fills the target from its beginning; returns the number of bytes. */
  read(target: Uint8Array): number;
  /** The message that ends the stream, once all its bytes are read. */
  readonly ending: BulkEnding | undefined;
  /** Called when the ending is written. */
  onEnded(): void;
}

interface Signal {
  readonly kind: Kind;
  readonly id: number;
  readonly payload: Uint8Array | undefined;
}

/** Letters are written while less than this is buffered in the link, bulk only up to HIGH_WATER_BYTES. */
const LETTERS_HIGH_WATER_BYTES = 2 * HIGH_WATER_BYTES;
/** Share of the window by which letters may exceed it. */
const LETTERS_BEYOND = 1 / 4;
/** A part of something larger is not begun in a smaller rest of a frame. */
const SMALLEST_PART_BYTES = 4 * 1024;
/** On a slow link a frame is a fraction of the window, but never smaller than this. */
const SMALLEST_FRAME_BYTES = 2 * SMALLEST_PART_BYTES;
/** Largest frame without the ping that follows. */
const LARGEST_FRAME_BYTES = MAX_FRAME_BYTES - HEADER_BYTES;

const encoder = new TextEncoder();
/** Shared by all links: it is filled and sealed synchronously. */
const frame = new Uint8Array(MAX_FRAME_BYTES);

/** Waiting for the end of the event-loop turn costs nothing where the engine has such a phase; elsewhere this is the next best. */
const atTurnEnd: (action: () => void) => void = globalThis.setImmediate ?? ((action: () => void) => setTimeout(action, 0));

/**
 * Everything that leaves through a link, in three lanes: signals (heartbeat, credit, cancellation) always, letters (calls, replies,
 * notes) before bulk, bulk round-robin, a frame at a time. What is queued in one turn of the event loop shares frames.
 *
 * Letters and bulk go only as far as `Pace` allows, so that little of them is in flight when something more urgent comes. Letters may
 * exceed the window by a quarter, so that they do not wait for the bulk in flight.
 */
export class Writer {
  readonly #link: SealedLink;
  readonly #pace: Pace;
  readonly #onWritten: () => void;
  readonly #signals: Signal[] = [];
  readonly #letters: Letter[] = [];
  #firstLetter = 0;
  #waitingChars = 0;
  /** Streams that have something to write, in the order of their turns; idle streams cost nothing. */
  readonly #bulks = new Set<Bulk>();
  #scheduled = false;
  #pingWanted = false;
  /** There is more to write than may be written now. */
  #blocked = false;
  #ended = false;

  /** @param onWritten called for each frame */
  constructor(link: SealedLink, pace: Pace, onWritten: () => void) {
    this.#link = link;
    this.#pace = pace;
    this.#onWritten = onWritten;
  }

  /** Characters of letters that are not written yet. */
  get waitingChars(): number {
    return this.#waitingChars;
  }

  signal(kind: Kind, id: number, payload?: Uint8Array): void {
    if (this.#ended) return;
    this.#signals.push({ kind, id, payload });
    this.#scheduleFlush();
  }

  /** Sends a ping at once; `Pace` waits for its pong. */
  ping(): void {
    this.#pingWanted = true;
    this.flush();
  }

  /** The text must not be longer than MAX_MESSAGE_BYTES in UTF-8. */
  letter(kind: Kind, id: number, text: string, bytes?: Uint8Array): Letter {
    const letter: Letter = { kind, id, text, bytes, written: 0, writtenAt: undefined, state: 'waiting' };
    if (this.#ended) return letter;
    this.#letters.push(letter);
    this.#waitingChars += text.length;
    this.#scheduleFlush();
    return letter;
  }

  /** Withdraws a letter of which nothing is written yet; returns false if it is too late. */
  withdraw(letter: Letter): boolean {
    if (letter.state !== 'waiting') return false;
    letter.state = 'dropped';
    return true;
  }

  /** Registers a stream that may have something to write, until `removeBulk`. To be repeated after it had nothing. */
  offer(bulk: Bulk): void {
    if (this.#ended) return;
    this.#bulks.add(bulk);
    this.#scheduleFlush();
  }

  removeBulk(bulk: Bulk): void {
    this.#bulks.delete(bulk);
  }

  #scheduleFlush(): void {
    if (this.#scheduled || this.#ended) return;
    this.#scheduled = true;
    atTurnEnd(() => {
      this.#scheduled = false;
      this.flush();
    });
  }

  /** Writes whatever may be written now. */
  flush(): void {
    while (!this.#ended) {
      let length = this.#fill();
      const isStuck = this.#blocked && this.#pace.full();
      const pings = this.#pingWanted || isStuck || (length > 0 && this.#pace.isDue(length));
      if (length === 0 && !pings) return;
      this.#pingWanted = false;
      this.#pace.sent(pings ? length + HEADER_BYTES : length);
      if (pings) length = putBytes(length, Kind.ping, 0, this.#pace.mark(), undefined);
      this.#link.send(frame.subarray(0, length));
      this.#onWritten();
    }
  }

  /** Writes what it can, then the goodbye; nothing is written after it. */
  end(goodbye: string): void {
    this.flush();
    if (this.#ended) return;
    this.#ended = true;
    const length = putBytes(0, Kind.goodbye, 0, 0, toUtf8(goodbye));
    this.#link.send(frame.subarray(0, length));
    this.drop();
  }

  drop(): void {
    this.#ended = true;
    this.#signals.length = 0;
    this.#letters.length = 0;
    this.#firstLetter = 0;
    this.#waitingChars = 0;
    this.#bulks.clear();
  }

  #fill(): number {
    let at = this.#fillSignals();
    this.#blocked = false;
    if (this.#letters.length === 0 && this.#bulks.size === 0) return at;
    const waiting = this.#link.bufferedBytes;
    const { roomBytes, windowBytes, pieceBytes } = this.#pace;
    const limit = Math.max(SMALLEST_FRAME_BYTES, Math.min(LARGEST_FRAME_BYTES, Math.floor(pieceBytes)));
    if (waiting < LETTERS_HIGH_WATER_BYTES && roomBytes > -windowBytes * LETTERS_BEYOND) at = this.#fillLetters(at, limit);
    const lettersWait = this.#firstLetter < this.#letters.length;
    const mayBulk = waiting < HIGH_WATER_BYTES && roomBytes > 0;
    if (!lettersWait && mayBulk) at = this.#fillBulk(at, limit);
    this.#blocked = at === 0 && (lettersWait || (!mayBulk && this.#bulks.size > 0));
    return at;
  }

  #fillSignals(): number {
    let at = 0;
    let count = 0;
    for (const { kind, id, payload } of this.#signals) {
      if (at + HEADER_BYTES + (payload?.length ?? 0) > LARGEST_FRAME_BYTES) break;
      at = putBytes(at, kind, 0, id, payload);
      count++;
    }
    if (count > 0) this.#signals.splice(0, count);
    return at;
  }

  #fillLetters(start: number, limit: number): number {
    let at = start;
    while (this.#firstLetter < this.#letters.length) {
      const letter = this.#letters[this.#firstLetter];
      if (letter !== undefined && letter.state !== 'dropped') {
        const after = putLetter(letter, at, limit);
        if (after === at) return at;
        at = after;
        if (letter.state === 'partly') return at;
        letter.writtenAt = this.#pace.now();
      }
      this.#firstLetter++;
      this.#waitingChars -= letter?.text.length ?? 0;
    }
    this.#letters.length = 0;
    this.#firstLetter = 0;
    return at;
  }

  #fillBulk(start: number, limit: number): number {
    let at = start;
    // One turn per stream; a stream that has nothing to write is dropped.
    let turns = this.#bulks.size;
    for (const bulk of this.#bulks) {
      const room = limit - at - HEADER_BYTES;
      if (turns === 0 || room < SMALLEST_PART_BYTES) break;
      turns -= 1;
      this.#bulks.delete(bulk);
      if (bulk.readyBytes > 0) {
        const length = bulk.read(frame.subarray(at + HEADER_BYTES, limit));
        writeHeader(frame, at, bulk.kind, 0, bulk.id, length);
        at += HEADER_BYTES + length;
        if (bulk.readyBytes > 0 || bulk.ending !== undefined) this.#bulks.add(bulk);
      } else if (bulk.ending !== undefined) {
        at = putBytes(at, bulk.ending.kind, 0, bulk.id, toUtf8(bulk.ending.text));
        bulk.onEnded();
      }
    }
    return at;
  }
}

/** Returns the position after the message. */
function putBytes(at: number, kind: Kind, flags: number, id: number, payload: Uint8Array | undefined): number {
  const length = payload?.length ?? 0;
  writeHeader(frame, at, kind, flags, id, length);
  if (payload !== undefined) frame.set(payload, at + HEADER_BYTES);
  return at + HEADER_BYTES + length;
}

/** Puts the letter, or its next part, into the frame; returns the position after it, or `at` if nothing of it fits. */
function putLetter(letter: Letter, at: number, limit: number): number {
  const { kind, id, text } = letter;
  const room = limit - at - HEADER_BYTES;
  if (letter.bytes === undefined) {
    if (room < text.length) {
      if (at > 0 && text.length < SMALLEST_PART_BYTES) return at;
    } else {
      const { read, written } = encoder.encodeInto(text, frame.subarray(at + HEADER_BYTES, limit));
      if (read === text.length) {
        writeHeader(frame, at, kind, 0, id, written);
        letter.state = 'written';
        return at + HEADER_BYTES + written;
      }
    }
    letter.bytes = encoder.encode(text);
  }
  const rest = letter.bytes.length - letter.written;
  if (rest > room && room < SMALLEST_PART_BYTES) return at;
  // A letter that fits into a frame of its own is not split.
  if (rest > room && letter.written === 0 && rest <= limit - HEADER_BYTES && at > 0) return at;
  const length = Math.min(rest, room);
  const part = letter.bytes.subarray(letter.written, letter.written + length);
  const after = putBytes(at, kind, length < rest ? MORE : 0, id, part);
  letter.written += length;
  letter.state = length < rest ? 'partly' : 'written';
  return after;
}
