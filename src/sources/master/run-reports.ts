import { bytesOfProgress } from '../../job/bounded-progress.js';
import type { Progress } from '../../job/job.js';
import { MAX_REPORT_BYTES, MAX_REPORTS } from '../../job/limits.js';
import type { LeaseKey, Report } from '../../job/verbs.js';

/** Leaves room for the line with the number of dropped lines, and for a progress value that is kept separately. */
const MAX_HELD = MAX_REPORTS - 2;
const MAX_HELD_BYTES = MAX_REPORT_BYTES - 128 * 1024;
/** Limit for all runs together; beyond it, each run keeps less. The output of jobs must not fill a Worker without a link. */
const MAX_SHARED_BYTES = 32 * 1024 * 1024;
const MAX_CROWDED_BYTES = 64 * 1024;

interface Held {
  readonly n: number;
  readonly progress: Progress;
  readonly bytes: number;
}

/** Total size of all unconfirmed reports of a Worker, in bytes. */
export interface HeldBytes {
  held: number;
}

/**
 * The unconfirmed reports of one run, numbered from 1. When there is no more room, the oldest lines are dropped and one line gives their
 * number; the latest progress is kept.
 */
export class RunReports {
  readonly key: LeaseKey;
  readonly #shared: HeldBytes;
  #held: Held[] = [];
  #bytes = 0;
  #lastN = 0;
  /** Number of the last report in transit. */
  #sentN = 0;
  #dropped = { count: 0, n: 0 };
  /** The latest progress, if later lines have displaced it. */
  #progress: Held | undefined;
  /** When the oldest report arrived. */
  oldestAt = 0;

  constructor({ id, lease }: LeaseKey, shared: HeldBytes) {
    this.key = { id, lease };
    this.#shared = shared;
  }

  get empty(): boolean {
    return this.#held.length === 0 && this.#dropped.count === 0 && this.#progress === undefined;
  }

  /** An upper bound for the length of `all()`. */
  get size(): number {
    return this.#held.length + 2;
  }

  get bytes(): number {
    return this.#bytes;
  }

  add(progress: Progress, now: number): void {
    if (this.empty) this.oldestAt = now;
    if (progress.kind === 'progress') this.#replaceProgress();
    this.#lastN += 1;
    const bytes = bytesOfProgress(progress);
    this.#held.push({ n: this.#lastN, progress, bytes });
    this.#count(bytes);
    const most = this.#shared.held > MAX_SHARED_BYTES ? MAX_CROWDED_BYTES : MAX_HELD_BYTES;
    while (this.#held.length > MAX_HELD || (this.#bytes > most && this.#held.length > 1)) this.#drop();
  }

  /** Returns all reports, oldest first: at most MAX_REPORTS and MAX_REPORT_BYTES. */
  all(): Report[] {
    const { count, n } = this.#dropped;
    const line = `(${count} lines were dropped: they came faster than they could be sent)`;
    const first: Report[] = count === 0 ? [] : [{ n, progress: { kind: 'log', stream: 'log', line } }];
    if (this.#progress !== undefined) first.push({ n: this.#progress.n, progress: this.#progress.progress });
    first.sort((a, b) => (a.n ?? 0) - (b.n ?? 0));
    for (const { n, progress } of this.#held) first.push({ n, progress });
    return first;
  }

  /** Returns all reports and marks them as in transit. */
  send(): Report[] {
    this.#sentN = this.#lastN;
    return this.all();
  }

  /** Called when the Master has stored the reports up to number `n`. */
  acknowledge(n: number, now: number): void {
    const count = this.#held.findIndex((each) => each.n > n);
    for (const { bytes } of this.#held.splice(0, count === -1 ? this.#held.length : count)) this.#count(-bytes);
    if (this.#dropped.n <= n) this.#dropped = { count: 0, n: 0 };
    if (this.#progress !== undefined && this.#progress.n <= n) this.#forgetProgress();
    this.oldestAt = now;
  }

  /** Drops all reports, because another sender has taken them over. */
  clear(): void {
    this.acknowledge(Number.POSITIVE_INFINITY, 0);
  }

  /** Removes an unsent progress value, which the next one replaces. */
  #replaceProgress(): void {
    this.#forgetProgress();
    const last = this.#held[this.#held.length - 1];
    if (last === undefined || last.progress.kind !== 'progress' || last.n <= this.#sentN) return;
    this.#held.pop();
    this.#lastN -= 1;
    this.#count(-last.bytes);
  }

  #drop(): void {
    const oldest = this.#held.shift();
    if (oldest === undefined) return;
    if (oldest.progress.kind === 'log') {
      this.#dropped = { count: this.#dropped.count + 1, n: oldest.n };
      this.#count(-oldest.bytes);
    } else if (this.#held.some(({ progress }) => progress.kind === 'progress')) this.#count(-oldest.bytes);
    else this.#progress = oldest;
  }

  #forgetProgress(): void {
    if (this.#progress !== undefined) this.#count(-this.#progress.bytes);
    this.#progress = undefined;
  }

  #count(bytes: number): void {
    this.#bytes += bytes;
    this.#shared.held += bytes;
  }
}
