/**
 * Outgoing progress and log lines of the running job. Lines are sent immediately, those of one write together, so that they survive if
 * the next statement never returns or ends the process. Values of progress are, too; above 4,000 a second only the latest of each 50 ms
 * is sent. Floods are cut, see flood.ts.
 */
import { Writable } from 'node:stream';
import type { Json, Progress } from '../../../job/job.js';
import { FloodGate } from './flood.js';
import { pop, push, slice, split, now as steadyNow, timer } from './primordials.js';

type StreamName = 'stdout' | 'stderr' | 'log';

const WINDOW_MS = 50;
/** Values of progress per window that are sent immediately; no work between two values takes less time than that. */
const MAX_IMMEDIATE = 200;
/** Lines and progress are limited in size, so this many fit into one message. */
const MAX_HELD = 50;

export class Reports {
  readonly #send: (progress: readonly Progress[]) => void;
  readonly #maxLineChars: number;
  readonly #now: () => number;
  #gate: FloodGate;
  #held: Progress[] = [];
  readonly #partial = { stdout: '', stderr: '', log: '' };
  #windowFrom = 0;
  #sentInWindow = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(send: (progress: readonly Progress[]) => void, maxLineChars: number, now: () => number = steadyNow) {
    this.#send = send;
    this.#maxLineChars = maxLineChars;
    this.#now = now;
    this.#gate = new FloodGate(now());
  }

  progress(value: Json): void {
    const last = this.#held[this.#held.length - 1];
    if (last?.kind === 'progress') pop(this.#held);
    this.#add({ kind: 'progress', value });
  }

  /** Takes text as it is written; a line is reported once it is complete, or when the job ends. */
  text(stream: StreamName, text: string): void {
    const lines = split(this.#partial[stream] + text, '\n');
    this.#partial[stream] = slice(pop(lines) ?? '', 0, this.#maxLineChars + 1);
    for (let at = 0; at < lines.length; at += 1) this.#line(stream, lines[at] ?? '');
    if (lines.length > 0) this.#flush();
  }

  /** Writes lines of our own, starting on a new line whatever the task has written before. */
  lines(stream: StreamName, text: string): void {
    this.text(stream, `${this.#partial[stream] === '' ? '' : '\n'}${text}\n`);
  }

  #line(stream: StreamName, line: string): void {
    if (!this.#gate.passes(this.#now())) return;
    this.#reportDropped();
    const cut = line.length > this.#maxLineChars ? `${slice(line, 0, this.#maxLineChars - 1)}…` : line;
    this.#hold({ kind: 'log', stream, line: cut });
  }

  #reportDropped(): void {
    const dropped = this.#gate.takeDropped();
    if (dropped > 0) this.#hold({ kind: 'log', stream: 'log', line: `(${dropped} lines were dropped: the task writes too many)` });
  }

  #add(progress: Progress): void {
    const now = this.#now();
    if (now - this.#windowFrom >= WINDOW_MS) {
      this.#windowFrom = now;
      this.#sentInWindow = 0;
    }
    push(this.#held, progress);
    if (this.#sentInWindow < MAX_IMMEDIATE) {
      this.#sentInWindow += 1;
      this.#flush();
    } else if (this.#timer === undefined) {
      this.#timer = timer.set(() => this.#flush(), WINDOW_MS);
      timer.unref(this.#timer);
    }
  }

  #hold(progress: Progress): void {
    push(this.#held, progress);
    if (this.#held.length >= MAX_HELD) this.#flush();
  }

  #flush(): void {
    timer.clear(this.#timer);
    this.#timer = undefined;
    if (this.#held.length === 0) return;
    this.#send(this.#held);
    this.#held = [];
  }

  /** Flushes everything at the end of a job; the next one starts with a fresh allowance. */
  end(): void {
    if (this.#partial.stdout !== '') this.text('stdout', '\n');
    if (this.#partial.stderr !== '') this.text('stderr', '\n');
    if (this.#partial.log !== '') this.text('log', '\n');
    this.#reportDropped();
    this.#flush();
    this.#gate = new FloodGate(this.#now());
    this.#sentInWindow = 0;
  }

  /** Returns a stream that can replace process.stdout or process.stderr. */
  stream(name: 'stdout' | 'stderr'): Writable {
    return new Writable({
      decodeStrings: false,
      write: (chunk: string | Buffer, _encoding, done) => {
        this.text(name, chunk.toString());
        done();
      },
    });
  }
}
