import type { Clock, Timer } from '../clock.js';
import { boundedProgress, sizeOfProgress } from '../job/bounded-progress.js';
import type { Progress } from '../job/job.js';
import { type LeaseKey, type Report, type Settlement, workerLeaseKeyOf } from '../job/verbs.js';
import type { HistoryInput, Ledger, WorkerRef } from '../ledger/ledger.js';
import type { Log } from '../log.js';

/** Interval between writes: pending lines are written together, so that a chatty task costs few transactions. */
const WRITE_MS = 100;
const MAX_WAITING = 2_000;
const MAX_WAITING_CHARS = 8 * 1024 * 1024;
/** Of a job's progress values, one per interval is stored, and the last one; watchers see them all. */
const PROGRESS_MS = 1_000;
/** Runs whose state is kept; the least recently active are evicted first, unless they have pending reports. */
const MAX_RUNS = 20_000;

/** State of a run that sends reports. */
interface ReportingRun {
  readonly worker: WorkerRef;
  readonly key: LeaseKey;
  /** Highest report number received. */
  lastN: number;
  waiting: Progress[];
  keptProgressAt: number;
  /** Progress that followed another too soon: stored if it is the last, or once the interval has passed. */
  latest: Progress | undefined;
}

/**
 * Writes the reports of running jobs to their histories: periodically, and, when a run is settled, whatever is pending together
 * with its outcome, so that no settlement overtakes earlier reports. Duplicates, as sent after a link broke before the reply, are
 * dropped.
 */
export class HistoryWriter {
  readonly #ledger: Ledger;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #runs = new Map<string, ReportingRun>();
  /** Runs with pending reports. */
  readonly #pendingRuns = new Set<ReportingRun>();
  #count = 0;
  #chars = 0;
  #timer: Timer | undefined;
  #writing: Promise<void> | undefined;
  /** Callers waiting for the pending lines to be written. */
  #flushWaiters: { readonly resolve: () => void; readonly reject: (error: unknown) => void }[] = [];

  constructor(ledger: Ledger, clock: Clock, log: Log) {
    this.#ledger = ledger;
    this.#clock = clock;
    this.#log = log;
  }

  /** False while too much is pending, in which case callers must not add reports. */
  get accepts(): boolean {
    return this.#count < MAX_WAITING && this.#chars < MAX_WAITING_CHARS;
  }

  /** Adds a report. Returns true if it is not a duplicate. */
  add(worker: WorkerRef, key: LeaseKey, { n, progress }: Report): boolean {
    const run = this.#runOf(worker, key);
    if (n !== undefined && n <= run.lastN) return false;
    if (n !== undefined) run.lastN = n;
    const now = this.#clock.now();
    if (progress.kind === 'progress' && now - run.keptProgressAt < PROGRESS_MS) {
      this.#chars += sizeOfProgress(progress) - (run.latest === undefined ? 0 : sizeOfProgress(run.latest));
      run.latest = progress;
    } else {
      if (progress.kind === 'progress') run.keptProgressAt = now;
      this.#enqueue(run, progress);
    }
    this.#pendingRuns.add(run);
    this.#schedule();
    return true;
  }

  /** Resolves when everything added so far is in the ledger; rejects if it could not be written. */
  written(): Promise<void> {
    if (this.#pendingRuns.size === 0 && this.#writing === undefined) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#flushWaiters.push({ resolve, reject });
      this.#schedule();
    });
  }

  /**
   * Returns the settlement together with all reports of the run that are not in the ledger yet. `onNew` receives those that arrived
   * with the settlement itself.
   */
  settled(worker: WorkerRef, settlement: Settlement, onNew: (progress: Progress) => void): Settlement {
    const { reports = [] } = settlement;
    if (reports.length === 0 && this.#runs.size === 0) return settlement;
    const name = workerLeaseKeyOf(worker.id, settlement);
    const run = this.#runs.get(name);
    const waiting: Report[] = run === undefined ? [] : this.#take(run).map((progress) => ({ progress }));
    if (run !== undefined) this.#runs.delete(name);
    const fresh = reports.flatMap((report): Report[] => {
      if (run !== undefined && report.n !== undefined && report.n <= run.lastN) return [];
      const progress = boundedProgress(report.progress);
      if (progress === undefined) return [];
      onNew(progress);
      return [report];
    });
    const last = run?.latest;
    const kept = last === undefined || fresh.some(({ progress }) => progress.kind === 'progress') ? [] : [{ progress: last }];
    if (run !== undefined) this.#setLatest(run, undefined);
    const all: Report[] = [...waiting, ...kept, ...thinned(fresh)];
    // Nothing of this run is in the ledger, so it need not search for duplicates.
    if (run === undefined && fresh[0]?.n === 1 && all[0] !== undefined) all[0] = { ...all[0], n: 1 };
    return { ...settlement, reports: all };
  }

  /** Writes all pending lines. */
  async flush(): Promise<void> {
    this.#timer?.cancel();
    await this.#writing;
    this.#write(Number.POSITIVE_INFINITY);
    await this.#writing;
  }

  #runOf(worker: WorkerRef, key: LeaseKey): ReportingRun {
    const name = workerLeaseKeyOf(worker.id, key);
    const known = this.#runs.get(name);
    if (known !== undefined) return known;
    const { id, lease } = key;
    const keptProgressAt = Number.NEGATIVE_INFINITY;
    const run: ReportingRun = { worker, key: { id, lease }, lastN: 0, waiting: [], keptProgressAt, latest: undefined };
    this.#runs.set(name, run);
    if (this.#runs.size > MAX_RUNS)
      for (const [oldest, other] of this.#runs)
        if (!this.#pendingRuns.has(other)) {
          this.#runs.delete(oldest);
          break;
        }
    return run;
  }

  #enqueue(run: ReportingRun, progress: Progress): void {
    run.waiting.push(progress);
    this.#count += 1;
    this.#chars += sizeOfProgress(progress);
  }

  #setLatest(run: ReportingRun, latest: Progress | undefined): void {
    if (run.latest !== undefined) this.#chars -= sizeOfProgress(run.latest);
    run.latest = latest;
    if (run.waiting.length === 0) this.#pendingRuns.delete(run);
  }

  #take(run: ReportingRun): Progress[] {
    const taken = run.waiting;
    run.waiting = [];
    this.#count -= taken.length;
    for (const progress of taken) this.#chars -= sizeOfProgress(progress);
    if (run.latest === undefined) this.#pendingRuns.delete(run);
    return taken;
  }

  #schedule(): void {
    // One write at a time: if the ledger is slow, lines queue up here, where they are bounded.
    if (this.#writing === undefined) this.#timer ??= this.#clock.after(WRITE_MS, () => this.#write(this.#clock.now()), { unref: true });
  }

  #write(now: number): void {
    this.#timer = undefined;
    const byWorker = new Map<WorkerRef, HistoryInput[]>();
    const runs = [...this.#pendingRuns];
    for (const run of runs) {
      const { latest, worker, key } = run;
      if (latest !== undefined && now - run.keptProgressAt >= PROGRESS_MS) {
        this.#setLatest(run, undefined);
        this.#enqueue(run, latest);
        run.keptProgressAt = now;
      }
      const entries = this.#take(run).map((progress) => ({ ...key, progress }));
      const all = byWorker.get(worker);
      if (all === undefined) byWorker.set(worker, entries);
      else all.push(...entries);
    }
    const waiters = this.#flushWaiters;
    this.#flushWaiters = [];
    this.#writing = Promise.all([...byWorker].map(([worker, entries]) => this.#ledger.record(worker, entries, this.#clock.now())))
      .then(
        () => {
          for (const { resolve } of waiters) resolve();
        },
        (error: unknown) => {
          this.#log.warn('log lines of jobs were not stored', {
            error,
            hint: 'Check the disk or database of the ledger; the jobs continue.',
          });
          // Senders of numbered reports will send them again.
          for (const run of runs) run.lastN = 0;
          for (const { reject } of waiters) reject(error);
        },
      )
      .then(() => {
        this.#writing = undefined;
        if (this.#pendingRuns.size > 0 || this.#flushWaiters.length > 0) this.#schedule();
      });
  }
}

/** Drops progress values that newer ones supersede. */
function thinned(reports: readonly Report[]): Report[] {
  const last = reports.findLastIndex(({ progress }) => progress.kind === 'progress');
  return reports.filter(({ progress }, at) => progress.kind === 'log' || at === last);
}
