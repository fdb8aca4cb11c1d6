import type { Readable } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';
import type { Clock, Timer } from '../clock.js';
import { MAX_LOG_LINE_CHARS } from '../job/limits.js';
import { tellsHeapFull } from '../kit/fatal-words.js';
import { TextLines } from '../kit/lines.js';

export type OutputStream = 'stdout' | 'stderr' | 'log';
export type OnLine = (stream: OutputStream, line: string) => void;

const WINDOW_MS = 250;
/** Bytes read in one window: 10 MB/s. Beyond it the pipe fills, and the container waits, not the worker. */
const BYTES_PER_WINDOW = 2_500_000;
/** The end of stdout and of stderr is kept. */
const TAIL_CHARS = 64 * 1024;
/** Lines forwarded in one window; the rest is counted. */
const LINES_PER_WINDOW = 250;

/** The lines that a container prints, as they arrive, limited to an amount that cannot harm the worker or its link. */
export class OutputLines {
  readonly #streams: readonly Readable[];
  readonly #clock: Clock;
  readonly #onLine: OnLine;
  #window: Timer | undefined;
  #bytes = 0;
  #lines = 0;
  #dropped = 0;
  readonly #tails = { stdout: '', stderr: '' };
  #heapFull = false;

  constructor(stdout: Readable, stderr: Readable, clock: Clock, onLine: OnLine) {
    this.#streams = [stdout, stderr];
    this.#clock = clock;
    this.#onLine = onLine;
    this.#read(stdout, 'stdout');
    this.#read(stderr, 'stderr');
  }

  /** Node has reported on stderr that its heap is full. */
  get heapFull(): boolean {
    return this.#heapFull;
  }

  /** The end of this stream, at most 64 Ki characters. */
  tail(name: 'stdout' | 'stderr'): string {
    return this.#tails[name].slice(-TAIL_CHARS);
  }

  #read(stream: Readable, name: 'stdout' | 'stderr'): void {
    const decoder = new StringDecoder('utf8');
    const lines = new TextLines(MAX_LOG_LINE_CHARS);
    stream.on('error', () => {});
    stream.on('data', (chunk: Buffer) => {
      this.#count(chunk.length);
      const text = decoder.write(chunk);
      this.#appendTail(name, text);
      for (const line of lines.push(text)) this.#forward(name, line);
    });
    stream.on('end', () => {
      // A truncated character appears as a replacement character.
      const rest = decoder.end();
      this.#appendTail(name, rest);
      const last = lines.rest() + rest;
      if (last !== '') this.#forward(name, last);
      this.#reportDropped();
    });
  }

  /** Truncated only occasionally, because this is called for each chunk. */
  #appendTail(name: 'stdout' | 'stderr', text: string): void {
    this.#tails[name] += text;
    if (this.#tails[name].length > 4 * TAIL_CHARS) this.#tails[name] = this.tail(name);
  }

  #count(bytes: number): void {
    this.#window ??= this.#clock.after(WINDOW_MS, () => this.#resetWindow(), { unref: true });
    this.#bytes += bytes;
    if (this.#bytes > BYTES_PER_WINDOW) for (const each of this.#streams) each.pause();
  }

  #resetWindow(): void {
    this.#window = undefined;
    if (this.#bytes > BYTES_PER_WINDOW) for (const each of this.#streams) each.resume();
    this.#bytes = 0;
    this.#lines = 0;
    this.#reportDropped();
  }

  #forward(stream: 'stdout' | 'stderr', line: string): void {
    this.#lines += 1;
    if (stream === 'stderr' && tellsHeapFull(line)) this.#heapFull = true;
    if (this.#lines > LINES_PER_WINDOW) this.#dropped += 1;
    else this.#onLine(stream, line.replace(/\r$/, '').slice(0, MAX_LOG_LINE_CHARS));
  }

  #reportDropped(): void {
    if (this.#dropped > 0) this.#onLine('log', `(${this.#dropped} lines were dropped: the container prints too many)`);
    this.#dropped = 0;
  }
}
