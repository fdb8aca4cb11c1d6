import { isUtf8 } from 'node:buffer';
import { notUtf8 } from './utf8.js';

const NEWLINE = 10;

/** One line of a stream, or the reason why it was skipped. */
export interface Line {
  /** Counted from 1. */
  readonly number: number;
  /** Undefined if the line is skipped: it exceeds the limit or is not UTF-8. */
  readonly text: string | undefined;
  /** Why the line was skipped. */
  readonly fault?: string;
  readonly tooLong?: boolean;
}

/**
 * Splits bytes into lines, however they are chunked. Nothing is kept of a line that is too long; it is reported as soon as it
 * exceeds the limit, since it may never end. With `trimmed`, white space around lines is removed, and empty lines are counted but
 * not returned.
 */
export class LineCutter {
  readonly #maxBytes: number;
  readonly #trimmed: boolean;
  /** The parts so far of a line whose end has not arrived. */
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
    // After a line end the rest is copied: a small rest must not retain the whole chunk.
    if (from < chunk.length) yield* this.#keep(from === 0 ? chunk : Uint8Array.from(chunk.subarray(from)));
  }

  /** Returns the unterminated last line, if there is one. */
  *end(): Generator<Line, void, undefined> {
    if (this.#bytes > 0) yield* this.#endOfLine();
  }

  /**
   * Handles complete lines, the last one without its line end. Decodes them all at once if possible: a task's process writes
   * thousands of small lines a second.
   */
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
    const bytes = this.#parts.length > 1 ? Buffer.concat(this.#parts) : bufferOf(first);
    this.#parts = [];
    this.#bytes = 0;
    if (isReported) this.#number += 1;
    else if (isUtf8(bytes)) yield* this.#line(bytes.toString());
    else {
      yield { number: this.#number, text: undefined, fault: notUtf8(bytes) };
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

/** Returns a view of the same bytes, not a copy. */
function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}

/**
 * Yields the lines of a stream as they arrive, including an unterminated last line. Rejects as the stream does, or with what
 * `refuse` returns for the first line that exceeds `maxBytes` or is not UTF-8.
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

/** Splits a program's output into lines. Keeps at most `maxChars` of an unterminated line, so that it cannot fill the memory. */
export class TextLines {
  readonly #maxChars: number;
  #partial = '';

  constructor(maxChars: number) {
    this.#maxChars = maxChars;
  }

  /** Adds output and returns the lines that it completes. */
  push(text: string): string[] {
    const lines = (this.#partial + text).split('\n');
    this.#partial = (lines.pop() ?? '').slice(0, this.#maxChars);
    return lines;
  }

  /** Returns, and forgets, what followed the last line end. */
  rest(): string {
    const text = this.#partial;
    this.#partial = '';
    return text;
  }
}
