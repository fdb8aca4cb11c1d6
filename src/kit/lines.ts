import { isUtf8 } from 'node:buffer';
import { notUtf8 } from './utf8.js';

const NEWLINE = 10;

export interface Line {
  /** From 1 on. */
  readonly number: number;
  /** Undefined: it is longer than allowed, or no UTF-8, and is skipped. */
  readonly text: string | undefined;
  /** Why there is no text. */
  readonly fault?: string;
  readonly tooLong?: boolean;
}

/**
 * Cuts bytes into lines, however they come in chunks. Of a line that is too long nothing is kept, and it is reported as soon as it is: it may never
 * end. With `trimmed`, lines have no white space around them, and empty ones count, but are left out.
 */
export class LineCutter {
  readonly #maxBytes: number;
  readonly #trimmed: boolean;
  /** What is there of a line without its end. */
  #parts: Uint8Array[] = [];
  #bytes = 0;
  #number = 1;

  constructor(maxBytes: number, { trimmed = false } = {}) {
    this.#maxBytes = maxBytes;
    this.#trimmed = trimmed;
  }

  *take(chunk: Uint8Array): Generator<Line, void, undefined> {
    let from = 0;
    const end = chunk.indexOf(NEWLINE);
    if (end !== -1) {
      if (this.#bytes > 0) {
        yield* this.#keep(chunk.subarray(0, end));
        yield* this.#endOfLine();
        from = end + 1;
      }
      const last = chunk.lastIndexOf(NEWLINE);
      if (from <= last) yield* this.#lines(chunk.subarray(from, last));
      from = last + 1;
    }
    // Copied after a line end: a small rest must not hold the whole chunk.
    if (from < chunk.length) yield* this.#keep(from === 0 ? chunk : Uint8Array.from(chunk.subarray(from)));
  }

  /** What is behind the last line end, if there is anything. */
  *end(): Generator<Line, void, undefined> {
    if (this.#bytes > 0) yield* this.#endOfLine();
  }

  /** Whole lines, the last without its end. Decoded at once if they can be: a task's process writes thousands of small ones a second. */
  *#lines(bytes: Uint8Array): Generator<Line, void, undefined> {
    if (bytes.length <= this.#maxBytes && isUtf8(bytes)) {
      for (const text of bufferOf(bytes).toString().split('\n')) yield* this.#line(text);
      return;
    }
    for (let from = 0; from <= bytes.length; ) {
      const found = bytes.indexOf(NEWLINE, from);
      const end = found === -1 ? bytes.length : found;
      yield* this.#keep(bytes.subarray(from, end));
      yield* this.#endOfLine();
      from = end + 1;
    }
  }

  *#keep(part: Uint8Array): Generator<Line, void, undefined> {
    const before = this.#bytes;
    this.#bytes += part.length;
    if (this.#bytes <= this.#maxBytes) this.#parts.push(part);
    else {
      this.#parts = [];
      if (before <= this.#maxBytes)
        yield { number: this.#number, text: undefined, fault: `more than ${this.#maxBytes} bytes`, tooLong: true };
    }
  }

  *#endOfLine(): Generator<Line, void, undefined> {
    const isReported = this.#bytes > this.#maxBytes;
    const [first = new Uint8Array()] = this.#parts;
    const whole = this.#parts.length > 1 ? Buffer.concat(this.#parts) : bufferOf(first);
    this.#parts = [];
    this.#bytes = 0;
    if (isReported) this.#number += 1;
    else if (isUtf8(whole)) yield* this.#line(whole.toString());
    else {
      yield { number: this.#number, text: undefined, fault: notUtf8(whole) };
      this.#number += 1;
    }
  }

  *#line(line: string): Generator<Line, void, undefined> {
    const number = this.#number;
    this.#number += 1;
    const text = this.#trimmed ? line.trim() : line;
    if (text !== '' || !this.#trimmed) yield { number, text };
  }
}

/** The same bytes, not a copy of them. */
function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

/**
 * The lines of a stream as they come, the last one also without an end. Rejects as the stream does, or with what `refuse` makes of the first line that is
 * longer than `maxBytes` or no UTF-8.
 */
export async function* linesOf(
  chunks: AsyncIterable<Uint8Array>,
  maxBytes: number,
  refuse: (fault: string, line: number) => Error,
): AsyncGenerator<string, void, undefined> {
  const cutter = new LineCutter(maxBytes);
  const textOf = ({ number, text, fault = '' }: Line): string => {
    if (text === undefined) throw refuse(fault, number);
    return text;
  };
  for await (const chunk of chunks) for (const line of cutter.take(chunk)) yield textOf(line);
  for (const line of cutter.end()) yield textOf(line);
}

/** Splits what a program prints into lines. Of a line without end it keeps `maxChars`: it must not fill the memory. */
export class TextLines {
  readonly #maxChars: number;
  #partial = '';

  constructor(maxChars: number) {
    this.#maxChars = maxChars;
  }

  push(text: string): string[] {
    const lines = (this.#partial + text).split('\n');
    this.#partial = (lines.pop() ?? '').slice(0, this.#maxChars);
    return lines;
  }

  /** What came after the last line end. */
  rest(): string {
    const text = this.#partial;
    this.#partial = '';
    return text;
  }
}
