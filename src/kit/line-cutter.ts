import { isUtf8 } from 'node:buffer';
import { notUtf8 } from './utf8.js';

const NEWLINE = 10;

export interface Line {
  readonly number: number;
  /** Undefined: it was longer than allowed, or no UTF-8, and was skipped. */
  readonly text: string | undefined;
  /** Why there is no text. */
  readonly fault?: string;
  readonly tooLong?: boolean;
}

/** Cuts bytes into lines; of a line that is too long nothing is kept. Empty lines count, but are left out. */
export class LineCutter {
  readonly #maxBytes: number;
  #parts: Buffer[] = [];
  #bytes = 0;
  #number = 1;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  *take(chunk: Buffer): Generator<Line, void, undefined> {
    let from = 0;
    for (let at = chunk.indexOf(NEWLINE); at !== -1; at = chunk.indexOf(NEWLINE, from)) {
      this.#keep(chunk.subarray(from, at));
      yield* this.end();
      from = at + 1;
    }
    // Copied: a small rest must not hold the whole chunk.
    if (from < chunk.length) this.#keep(Buffer.from(chunk.subarray(from)));
  }

  /** What stands behind the last line end. */
  *end(): Generator<Line, void, undefined> {
    const number = this.#number;
    const bytes = this.#bytes;
    const whole = this.#parts.length === 1 ? this.#parts[0] : Buffer.concat(this.#parts);
    this.#parts = [];
    this.#bytes = 0;
    this.#number += 1;
    if (bytes > this.#maxBytes || whole === undefined)
      return void (yield { number, text: undefined, fault: `more than ${this.#maxBytes} bytes`, tooLong: true });
    if (!isUtf8(whole)) return void (yield { number, text: undefined, fault: notUtf8(whole) });
    const text = whole.toString().trim();
    if (text !== '') yield { number, text };
  }

  #keep(part: Buffer): void {
    this.#bytes += part.length;
    if (this.#bytes > this.#maxBytes) this.#parts = [];
    else if (part.length > 0) this.#parts.push(part);
  }
}
