import { toUtf8 } from '../bytes.js';
import { HIGH_WATER_BYTES } from '../link.js';
import { MAX_FRAME_BYTES, type SealedLink } from '../sealed.js';
import { HEADER_BYTES, Kind, MORE, writeHeader } from './messages.js';
import type { Pace } from './pace.js';

/** A text message on its way out. */
export interface Letter {
  readonly kind: Kind;
  readonly id: number;
  readonly text: string;
  /** The text in UTF-8, made when it turned out not to fit beside others. */
  bytes: Uint8Array | undefined;
  /** How many of the bytes are written. */
  written: number;
  /** When its last byte was; undefined before. */
  writtenAt: number | undefined;
  state: 'waiting' | 'partly' | 'written' | 'dropped';
}

/** The message behind the last byte of a stream. */
export interface BulkEnding {
  readonly kind: Kind;
  readonly text: string;
}

/** A byte stream on its way out. */
export interface Bulk {
  readonly id: number;
  /** Of the messages that carry its bytes. */
  readonly kind: Kind;
  /** What may be written now: less than there is while credit is lacking. */
  readonly readyBytes: number;
  /** Fills the target from its beginning; says how much. */
  read(target: Uint8Array): number;
  /** The message that ends it, once all its bytes are read. */
  readonly ending: BulkEnding | undefined;
  /** The ending is written. */
  onEnded(): void;
}

interface Signal {
  readonly kind: Kind;
  readonly id: number;
  readonly payload: Uint8Array | undefined;
}

/** Letters are written while less than this waits in the link, bulk only up to HIGH_WATER_BYTES. */
const LETTERS_HIGH_WATER_BYTES = 2 * HIGH_WATER_BYTES;
/** Letters may go so far beyond what may be under way. */
const LETTERS_BEYOND = 1 / 4;
/** Do not begin a part of something larger in a smaller rest of a frame. */
const SMALLEST_PART_BYTES = 4 * 1024;
/** On a slow line a frame is a part of the window, but never less. */
const SMALLEST_FRAME_BYTES = 2 * SMALLEST_PART_BYTES;
/** Of a frame, without the ping behind it. */
const LARGEST_FRAME_BYTES = MAX_FRAME_BYTES - HEADER_BYTES;

const encoder = new TextEncoder();
/** Shared by all links: it is filled and sealed without a pause. */
const frame = new Uint8Array(MAX_FRAME_BYTES);

/** In the engines with an end of the event-loop turn it costs nothing to wait for it; in others this is the next best. */
const atTurnEnd: (action: () => void) => void = globalThis.setImmediate ?? ((action: () => void) => setTimeout(action, 0));

/**
 * Everything that leaves through a link, in three lanes: signals (heartbeat, credit, cancellation) always, letters (calls, answers,
 * notes) before bulk, bulk in turns of a frame each. What is given in one turn of the event loop shares frames.
 *
 * Letters and bulk go only as far as `Pace` lets them, so that little of them is under way when something more urgent comes. Letters may go a quarter
 * beyond: they do not wait for the bulk that is under way.
 */
export class Writer {
  readonly #link: SealedLink;
  readonly #pace: Pace;
  readonly #onWritten: () => void;
  readonly #signals: Signal[] = [];
  readonly #letters: Letter[] = [];
  #firstLetter = 0;
  #waitingChars = 0;
  /** Those that have something to write, in the order of their turns: however many others there are, they cost nothing. */
  readonly #bulks = new Set<Bulk>();
  #scheduled = false;
  #pingWanted = false;
  /** There is more to write than may be written now. */
  #held = false;
  #ended = false;

  /** @param onWritten called for each frame */
  constructor(link: SealedLink, pace: Pace, onWritten: () => void) {
    this.#link = link;
    this.#pace = pace;
    this.#onWritten = onWritten;
  }

  /** Of letters that are not written yet. */
  get waitingChars(): number {
    return this.#waitingChars;
  }

  signal(kind: Kind, id: number, payload?: Uint8Array): void {
    if (this.#ended) return;
    this.#signals.push({ kind, id, payload });
    this.#wake();
  }

  /** Goes at once, and `Pace` waits for its pong. */
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
    this.#wake();
    return letter;
  }

  /** Takes it back if not a byte of it is written; false if that is too late. */
  withdraw(letter: Letter): boolean {
    if (letter.state !== 'waiting') return false;
    letter.state = 'dropped';
    return true;
  }

  /** It may have something to write now, until `removeBulk`. To be said again when it had nothing. */
  offer(bulk: Bulk): void {
    if (this.#ended) return;
    this.#bulks.add(bulk);
    this.#wake();
  }

  removeBulk(bulk: Bulk): void {
    this.#bulks.delete(bulk);
  }

  #wake(): void {
    if (this.#scheduled || this.#ended) return;
    this.#scheduled = true;
    atTurnEnd(() => {
      this.#scheduled = false;
      this.flush();
    });
  }

  /** Writes what may be written now. */
  flush(): void {
    while (!this.#ended) {
      let length = this.#fill();
      const isStuck = this.#held && this.#pace.full();
      const pings = this.#pingWanted || isStuck || (length > 0 && this.#pace.isDue(length));
      if (length === 0 && !pings) return;
      this.#pingWanted = false;
      this.#pace.sent(pings ? length + HEADER_BYTES : length);
      if (pings) length = putBytes(length, Kind.ping, 0, this.#pace.mark(), undefined);
      this.#link.send(frame.subarray(0, length));
      this.#onWritten();
    }
  }

  /** Writes what it can, then the goodbye, then never again anything. */
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
    this.#held = false;
    if (this.#letters.length === 0 && this.#bulks.size === 0) return at;
    const waiting = this.#link.bufferedBytes;
    const { roomBytes, windowBytes, pieceBytes } = this.#pace;
    const limit = Math.max(SMALLEST_FRAME_BYTES, Math.min(LARGEST_FRAME_BYTES, Math.floor(pieceBytes)));
    if (waiting < LETTERS_HIGH_WATER_BYTES && roomBytes > -windowBytes * LETTERS_BEYOND) at = this.#fillLetters(at, limit);
    const lettersWait = this.#firstLetter < this.#letters.length;
    const mayBulk = waiting < HIGH_WATER_BYTES && roomBytes > 0;
    if (!lettersWait && mayBulk) at = this.#fillBulk(at, limit);
    this.#held = at === 0 && (lettersWait || (!mayBulk && this.#bulks.size > 0));
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
    // As many turns as there are streams: whoever has nothing to write is dropped.
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

/** Returns where the frame goes on. */
function putBytes(at: number, kind: Kind, flags: number, id: number, payload: Uint8Array | undefined): number {
  const length = payload?.length ?? 0;
  writeHeader(frame, at, kind, flags, id, length);
  if (payload !== undefined) frame.set(payload, at + HEADER_BYTES);
  return at + HEADER_BYTES + length;
}

/** Puts the letter, or its next part, into the frame; returns where the frame goes on, `at` if nothing of it fits any more. */
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
  // What would fit into a frame of its own is not split.
  if (rest > room && letter.written === 0 && rest <= limit - HEADER_BYTES && at > 0) return at;
  const length = Math.min(rest, room);
  const part = letter.bytes.subarray(letter.written, letter.written + length);
  const after = putBytes(at, kind, length < rest ? MORE : 0, id, part);
  letter.written += length;
  letter.state = length < rest ? 'partly' : 'written';
  return after;
}
