import type { Readable } from 'node:stream';
import { boundedProgress } from '../../job/bounded-progress.js';
import type { Progress } from '../../job/job.js';
import { MAX_LOG_LINE_CHARS, MAX_PROGRESS_BYTES } from '../../job/limits.js';
import { tellsHeapFull } from '../../kit/fatal-words.js';
import { TextLines } from '../../kit/lines.js';
import { FloodGate } from './child/flood.js';

/** Bytes read between two ticks; beyond that the pipe fills and the task waits, not the worker. */
const BYTES_PER_TICK = 512 * 1024;
/** Limit on reports of one child between two ticks, 40,000 a second; beyond it, its pipe is not read. */
const REPORTS_PER_TICK = 2_000;
/** Characters of reports read between two ticks: our own code sends less than 2 MB in 50 ms. */
const REPORT_CHARS_PER_TICK = 2 * 1024 * 1024;

/**
 * A child's output other than its replies, limited to an amount that cannot harm the worker: raw stdout and stderr (console and
 * process.stdout arrive as reports, in order with the outcome), and the reports themselves.
 */
export class RawOutput {
  sawOutOfMemory = false;
  readonly #streams: readonly Readable[];
  readonly #now: () => number;
  readonly #report: (progress: Progress) => void;
  readonly #gate: FloodGate;
  readonly #answers: Readable;
  #bytes = 0;
  #reportChars = 0;
  #reports = 0;
  #released = false;

  /** @param answers the pipe that carries reports, paused so that a task which fills it waits too */
  constructor(streams: readonly (Readable | null)[], answers: Readable, now: () => number, report: (progress: Progress) => void) {
    this.#answers = answers;
    this.#streams = streams.filter((stream) => stream !== null);
    this.#now = now;
    this.#report = report;
    this.#gate = new FloodGate(now());
    for (const [index, stream] of streams.entries()) this.#read(stream, index === 0 ? 'stdout' : 'stderr');
  }

  #read(stream: Readable | null, name: 'stdout' | 'stderr'): void {
    const lines = new TextLines(MAX_LOG_LINE_CHARS);
    stream?.on('error', () => {});
    stream?.on('data', (chunk: Buffer) => {
      this.#bytes += chunk.length;
      if (this.#bytes > BYTES_PER_TICK && !this.#released) for (const each of this.#streams) each.pause();
      for (const line of lines.push(chunk.toString())) this.#line(name, line);
    });
    stream?.on('end', () => {
      const last = lines.rest();
      if (last !== '') this.#line(name, last);
    });
  }

  #line(stream: 'stdout' | 'stderr' | 'log', line: string): void {
    if (stream === 'stderr' && tellsHeapFull(line)) this.sawOutOfMemory = true;
    if (!this.#gate.passes(this.#now())) return;
    const dropped = this.#gate.takeDropped();
    if (dropped > 0) this.#report({ kind: 'log', stream: 'log', line: `(${dropped} lines were dropped: the task writes too many)` });
    this.#report({ kind: 'log', stream, line: line.slice(0, MAX_LOG_LINE_CHARS) });
  }

  /** Takes reports of the child from a line of this many characters. */
  take(reports: readonly Progress[], chars: number): void {
    this.#reportChars += chars;
    this.#reports += reports.length;
    if (this.#isFull && !this.#released) this.#answers.pause();
    for (const progress of reports) this.#pass(progress, chars);
  }

  #pass(progress: Progress, chars: number): void {
    if (progress.kind === 'progress' && progress.value !== undefined) {
      // Nothing in a short line is too large.
      const bounded = chars <= MAX_PROGRESS_BYTES / 4 ? progress : boundedProgress(progress);
      if (bounded !== undefined) this.#report({ kind: 'progress', value: progress.value });
      else this.#line('log', `(a progress value was dropped: it is larger than ${MAX_PROGRESS_BYTES} bytes of JSON, or nested too deep)`);
    } else if (progress.kind === 'log' && typeof progress.line === 'string') {
      const stream = progress.stream === 'stdout' || progress.stream === 'stderr' ? progress.stream : 'log';
      this.#report({ kind: 'log', stream, line: progress.line.slice(0, MAX_LOG_LINE_CHARS) });
    }
  }

  get #isFull(): boolean {
    return this.#reportChars > REPORT_CHARS_PER_TICK || this.#reports > REPORTS_PER_TICK;
  }

  tick(): void {
    if (this.#isFull) this.#answers.resume();
    this.#reports = 0;
    this.#reportChars = 0;
    if (this.#bytes > BYTES_PER_TICK) for (const each of this.#streams) each.resume();
    this.#bytes = 0;
  }

  /** Called when the process has ended: the rest is read without pauses. */
  release(): void {
    this.#released = true;
    this.#answers.resume();
    for (const each of this.#streams) each.resume();
  }
}
