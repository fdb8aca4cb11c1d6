/**
 * Progress and log lines of the running job on their way out. Lines leave at once, those of one write together, so that they survive if the next
 * statement never returns or ends the process; so do values of
 * progress, and of more than 4,000 a second the latest in each 50 ms. Floods are cut, see flood.ts.
 */
import { Writable } from 'node:stream';
import type { Json, Progress } from '../../../job/job.js';
import { FloodGate } from './flood.js';
import { pop, push, slice, split, now as steadyNow, timer } from './primordials.js';

type StreamName = 'stdout' | 'stderr' | 'log';

const WINDOW_MS = 50;
/** Of progress; no work that is done between two values is shorter. */
const AT_ONCE = 200;
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

  /** Takes text as it is written; a line is told when its end has come, or the job's. */
  text(stream: StreamName, text: string): void {
    const lines = split(this.#partial[stream] + text, '\n');
    this.#partial[stream] = slice(pop(lines) ?? '', 0, this.#maxLineChars + 1);
    for (let at = 0; at < lines.length; at += 1) this.#line(stream, lines[at] ?? '');
    if (lines.length > 0) this.#flush();
  }

  /** Lines of our own, which begin anew whatever the task has written before. */
  lines(stream: StreamName, text: string): void {
    this.text(stream, `${this.#partial[stream] === '' ? '' : '\n'}${text}\n`);
  }

  #line(stream: StreamName, line: string): void {
    if (!this.#gate.passes(this.#now())) return;
    this.#tellDropped();
    const cut = line.length > this.#maxLineChars ? `${slice(line, 0, this.#maxLineChars - 1)}…` : line;
    this.#hold({ kind: 'log', stream, line: cut });
  }

  #tellDropped(): void {
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
    if (this.#sentInWindow < AT_ONCE) {
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

  /** The job has ended: everything leaves, and the next job begins with a fresh allowance. */
  end(): void {
    if (this.#partial.stdout !== '') this.text('stdout', '\n');
    if (this.#partial.stderr !== '') this.text('stderr', '\n');
    if (this.#partial.log !== '') this.text('log', '\n');
    this.#tellDropped();
    this.#flush();
    this.#gate = new FloodGate(this.#now());
    this.#sentInWindow = 0;
  }

  /** A stream that can stand in for process.stdout or process.stderr. */
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
