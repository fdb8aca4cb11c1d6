import type { Clock, Timer } from '../clock.js';
import { sizeOfProgress } from '../job/bounded-progress.js';
import type { Progress } from '../job/job.js';
import type { HistoryInput, Ledger } from '../ledger/ledger.js';
import type { Log } from '../log.js';

/** Lines that wait are written together, so that a chatty task costs few transactions. */
const WRITE_MS = 100;
const MAX_WAITING = 2_000;
const MAX_WAITING_CHARS = 8 * 1024 * 1024;
/** Of the progress of a job one value in this time is kept; who watches sees them all. */
const PROGRESS_MS = 1_000;

/** Writes what running jobs tell into their histories. What arrives faster than it can be written is dropped, oldest first. */
export class Journal {
  readonly #ledger: Ledger;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #progressAt = new Map<string, number>();
  #waiting: { readonly entry: HistoryInput; readonly chars: number }[] = [];
  #chars = 0;
  #timer: Timer | undefined;
  #writing: Promise<void> | undefined;

  constructor(ledger: Ledger, clock: Clock, log: Log) {
    this.#ledger = ledger;
    this.#clock = clock;
    this.#log = log;
  }

  add(id: string, lease: number, progress: Progress): void {
    if (progress.kind === 'progress' && !this.#isDue(id)) return;
    const { kind } = progress;
    const body = kind === 'progress' ? progress.value : { stream: progress.stream, line: progress.line };
    const chars = sizeOfProgress(progress);
    this.#waiting.push({ entry: { id, lease, kind, body }, chars });
    this.#chars += chars;
    while (this.#waiting.length > MAX_WAITING || this.#chars > MAX_WAITING_CHARS) this.#chars -= this.#waiting.shift()?.chars ?? 0;
    this.#schedule();
  }

  /** Writes what waits. */
  async flush(): Promise<void> {
    this.#timer?.cancel();
    await this.#writing;
    this.#write();
    await this.#writing;
  }

  #isDue(id: string): boolean {
    const now = this.#clock.now();
    if (now - (this.#progressAt.get(id) ?? Number.NEGATIVE_INFINITY) < PROGRESS_MS) return false;
    if (this.#progressAt.size > MAX_WAITING) this.#progressAt.clear();
    this.#progressAt.set(id, now);
    return true;
  }

  #schedule(): void {
    // One write at a time: behind a slow ledger lines wait here, where they are bounded.
    if (this.#writing === undefined) this.#timer ??= this.#clock.after(WRITE_MS, () => this.#write(), { unref: true });
  }

  #write(): void {
    this.#timer = undefined;
    const entries = this.#waiting.map(({ entry }) => entry);
    this.#waiting = [];
    this.#chars = 0;
    if (entries.length === 0) return;
    this.#writing = this.#ledger
      .record(entries, this.#clock.now())
      .catch((error: unknown) => this.#log.warn('lines of jobs were not kept', { error }))
      .then(() => {
        this.#writing = undefined;
        if (this.#waiting.length > 0) this.#schedule();
      });
  }
}
