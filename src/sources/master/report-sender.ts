import type { Clock, Timer } from '../../clock.js';
import type { Progress } from '../../job/job.js';
import { MAX_REPORT_BYTES, MAX_REPORTS } from '../../job/limits.js';
import type { LeaseKey, Report } from '../../job/verbs.js';
import type { Log } from '../../log.js';
import type { Rpc } from '../../swarm/peer.js';
import { RunReports } from './run-reports.js';

/** What a run tells is sent after this long: what a quick job tells travels with its outcome alone, and costs no message. */
const TELL_MS = 50;
const RETRY_MS = 1_000;
/** Of one message. */
const MAX_BYTES = 2 * MAX_REPORT_BYTES;

/**
 * Carries to the Master what runs tell while they run. One message at a time; what it holds is kept until the Master has answered that it is in the
 * ledger, so that a link that ends loses none of it. What a run that ends has told and is not answered goes with its outcome; of a run that does not
 * count any more it goes this way.
 */
export class ReportSender {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #shared = { held: 0 };
  /** Those that have something to send. */
  readonly #runs = new Set<RunReports>();
  #rpc: Rpc | undefined;
  #timer: Timer | undefined;
  #sending = false;

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

  /** Everything that the run has told and that is not known to be kept; whoever takes it sends it. */
  take(run: RunReports): Report[] {
    const reports = run.all();
    run.clear();
    this.#runs.delete(run);
    return reports;
  }

  close(): void {
    this.#timer?.cancel();
    this.#rpc = undefined;
  }

  #arm(delayMs = TELL_MS): void {
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
    } catch (error) {
      this.#log.debug('what jobs tell could not be delivered', { error });
      delayMs = RETRY_MS;
    } finally {
      this.#sending = false;
      this.#arm(delayMs);
    }
  }

  /** As much as goes into a message, of the runs that have waited long enough. */
  #batch(): { readonly run: RunReports; readonly reports: Report[] }[] {
    const batch: { run: RunReports; reports: Report[] }[] = [];
    const now = this.#clock.now();
    let [count, bytes] = [0, 0];
    for (const run of [...this.#runs]) {
      if (now - run.oldestAt < TELL_MS / 2) continue;
      count += run.size;
      bytes += run.bytes;
      if (batch.length > 0 && (count > MAX_REPORTS || bytes > MAX_BYTES)) break;
      batch.push({ run, reports: run.send() });
      // The next time it is the turn of others first.
      this.#runs.delete(run);
      this.#runs.add(run);
    }
    return batch;
  }
}
