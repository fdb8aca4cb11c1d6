import type { Clock, Timer } from '../../clock.js';
import type { Progress } from '../../job/job.js';
import { MAX_REPORT_BYTES, MAX_REPORTS } from '../../job/limits.js';
import type { LeaseKey, Report } from '../../job/verbs.js';
import { Wake } from '../../kit/wake.js';
import type { Log } from '../../log.js';
import type { Rpc } from '../../swarm/peer.js';
import { RunReports } from './run-reports.js';

/** Delay before reports are sent: those of a quick job travel with its outcome and cost no message of their own. */
const SEND_DELAY_MS = 50;
const RETRY_MS = 1_000;
/** Maximum bytes of reports in one message. */
const MAX_BYTES = 2 * MAX_REPORT_BYTES;

/**
 * Delivers the reports of running jobs to the Master, one message at a time. Reports are kept until the Master has confirmed that they are
 * in the ledger, so that the end of a link loses none. Unconfirmed reports of a run that ends travel with its outcome; those of a run that
 * no longer counts are sent from here.
 */
export class ReportSender {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #shared = { held: 0 };
  /** Runs with pending reports. */
  readonly #runs = new Set<RunReports>();
  #rpc: Rpc | undefined;
  #timer: Timer | undefined;
  #sending = false;
  readonly #delivered = new Wake();

  constructor(clock: Clock, log: Log) {
    this.#clock = clock;
    this.#log = log;
  }

  connect(rpc: Rpc): void {
    this.#rpc = rpc;
    this.#arm();
  }

  disconnect(rpc: Rpc): void {
    if (this.#rpc === rpc) this.#rpc = undefined;
  }

  open(key: LeaseKey): RunReports {
    return new RunReports(key, this.#shared);
  }

  add(run: RunReports, progress: Progress): void {
    run.add(progress, this.#clock.now());
    this.#runs.add(run);
    this.#arm();
  }

  /** Removes and returns all unconfirmed reports of a run; the caller sends them. */
  take(run: RunReports): Report[] {
    const reports = run.all();
    run.clear();
    this.#runs.delete(run);
    this.#delivered.wake();
    return reports;
  }

  /** Resolves when all reports are delivered or have been taken over by an outcome, or when the signal aborts. */
  emptied(signal: AbortSignal): Promise<void> {
    return this.#delivered.until(() => this.#runs.size === 0, signal);
  }

  close(): void {
    this.#timer?.cancel();
    this.#rpc = undefined;
  }

  #arm(delayMs = SEND_DELAY_MS): void {
    if (this.#sending || this.#rpc === undefined || this.#runs.size === 0) return;
    this.#timer ??= this.#clock.after(
      delayMs,
      () => {
        this.#timer = undefined;
        if (this.#rpc !== undefined) void this.#send(this.#rpc);
      },
      { unref: true },
    );
  }

  async #send(rpc: Rpc): Promise<void> {
    const batch = this.#batch();
    if (batch.length === 0) return this.#arm();
    this.#sending = true;
    let delayMs: number | undefined;
    try {
      const reports = batch.flatMap(({ run, reports }) => reports.map((report) => ({ ...run.key, ...report })));
      await rpc.call('report', { reports }, { timeoutMs: 0 });
      const now = this.#clock.now();
      for (const { run, reports } of batch) {
        run.acknowledge(reports.at(-1)?.n ?? 0, now);
        if (run.empty) this.#runs.delete(run);
      }
      this.#delivered.wake();
    } catch (error) {
      this.#log.debug('reports of jobs could not be delivered', { error });
      delayMs = RETRY_MS;
    } finally {
      this.#sending = false;
      this.#arm(delayMs);
    }
  }

  /** Collects as much as fits into a message, from the runs that have waited long enough. */
  #batch(): { readonly run: RunReports; readonly reports: Report[] }[] {
    const batch: { run: RunReports; reports: Report[] }[] = [];
    const now = this.#clock.now();
    let [count, bytes] = [0, 0];
    for (const run of [...this.#runs]) {
      if (now - run.oldestAt < SEND_DELAY_MS / 2) continue;
      count += run.size;
      bytes += run.bytes;
      if (batch.length > 0 && (count > MAX_REPORTS || bytes > MAX_BYTES)) break;
      batch.push({ run, reports: run.send() });
      // Move the run to the end, so that others come first next time.
      this.#runs.delete(run);
      this.#runs.add(run);
    }
    return batch;
  }
}
