import { PeerworkError } from '../../errors.js';
import type { JobFiles } from '../../job/files.js';
import type { Outcome, Progress } from '../../job/job.js';
import type { FileOrigin, Lease, OutFile, TaskOrigin } from '../../job/source.js';
import { type LeaseKey, leaseKeyOf, type Settlement, type WorkItem } from '../../job/verbs.js';
import { HeldLease } from '../held-lease.js';
import { type OutgoingFiles, withoutFiles } from '../outgoing-files.js';
import type { PeerTunnel } from './peer-tunnel.js';
import type { ReportSender } from './report-sender.js';
import type { RunReports } from './run-reports.js';

/** What a lease needs from its source. */
export interface LeaseDuties {
  /** `late`: the partial output of a run that was cancelled. */
  settle(settlement: Settlement, late: boolean): Promise<void>;
  readonly files: OutgoingFiles;
  readonly reports: ReportSender;
  origin(digest: string): TaskOrigin;
  tunnel(key: LeaseKey): PeerTunnel;
  openFile(key: LeaseKey, sha256: string, offset: number, signal: AbortSignal): AsyncIterable<Uint8Array>;
  now(): number;
}

/** The leases that this worker holds from its Master, from their arrival until they are settled or lost. */
export class LeaseBook {
  readonly #duties: LeaseDuties;
  readonly #held = new Map<string, MasterLease>();

  constructor(duties: LeaseDuties) {
    this.#duties = duties;
  }

  get size(): number {
    return this.#held.size;
  }

  keys(): LeaseKey[] {
    return [...this.#held.values()].map(({ item }) => ({ id: item.id, lease: item.lease }));
  }

  /** Returns the leases whose runs have not begun. */
  waiting(): LeaseKey[] {
    return [...this.#held.values()].filter(({ begun }) => !begun).map(({ item }) => ({ id: item.id, lease: item.lease }));
  }

  open(item: WorkItem): Lease {
    const forget = () => this.#held.delete(leaseKeyOf(item));
    const lease = new MasterLease(item, this.#duties, forget);
    this.#held.set(leaseKeyOf(item), lease);
    return lease;
  }

  /**
   * Called when the Master reports leases as lost: stops their runs, whose outcomes no longer count. The jobs may continue elsewhere, or
   * here.
   */
  lose(keys: readonly LeaseKey[]): void {
    for (const key of keys) this.#held.get(leaseKeyOf(key))?.lose();
  }

  /** The same for cancelled jobs: the signals of their runs abort with `cancelled`. A run's partial output is still reported. */
  cancel(keys: readonly LeaseKey[]): void {
    for (const key of keys) this.#held.get(leaseKeyOf(key))?.cancel();
  }
}

class MasterLease extends HeldLease {
  readonly item: WorkItem;
  readonly tunnel?: PeerTunnel;
  readonly files?: FileOrigin;
  readonly #duties: LeaseDuties;
  readonly #forget: () => void;
  #begunAt: number | undefined;
  #reports: RunReports | undefined;
  #cancelled = false;

  constructor(item: WorkItem, duties: LeaseDuties, forget: () => void) {
    const { id, lease, channel, data, attempt, timeoutMs, parents, files, runner, digest } = item;
    const more = { ...(parents !== undefined && { parents }), ...(files !== undefined && { files }) };
    const job = { id, channel, data, attempt, timeoutMs, ...more };
    const run = { job, runner, task: duties.origin(digest), startedAt: duties.now() };
    super(run, (outcome) => this.#deliver(outcome));
    this.item = item;
    const made = (parents ?? []).map((parent) => parent.files ?? {});
    if (files !== undefined || made.some((each) => Object.keys(each).length > 0))
      this.files = {
        files: files ?? {},
        parents: made,
        open: (sha256, offset, signal) => duties.openFile({ id, lease }, sha256, offset, signal),
      };
    if (item.tunnel !== undefined) this.tunnel = duties.tunnel({ id, lease });
    this.#duties = duties;
    this.#forget = forget;
  }

  get begun(): boolean {
    return this.#begunAt !== undefined;
  }

  begin(): void {
    this.#begunAt ??= this.#duties.now();
  }

  /** The run's reports until its end are still sent. */
  override lose(): void {
    this.#release();
    this.stop();
  }

  cancel(): void {
    this.#release();
    this.#cancelled = true;
    this.stop(new PeerworkError('cancelled'));
  }

  /** Accepts reports even after the lease is lost: the last lines of a cancelled run belong to its log. */
  override report(progress: Progress): void {
    if (this.isOver) return;
    const { reports } = this.#duties;
    this.#reports ??= reports.open(this.item);
    reports.add(this.#reports, progress);
  }

  keepFiles(files: AsyncIterable<OutFile>): Promise<JobFiles> {
    return this.#duties.files.keep(this.item, files);
  }

  async #deliver(outcome: Outcome): Promise<void> {
    const isLate = this.#cancelled && outcome.state === 'failed' && outcome.output !== undefined;
    if (this.signal.aborted) void this.#duties.files.remove(this.item);
    if (this.signal.aborted && !isLate) return;
    const reports = this.#reports && this.#duties.reports.take(this.#reports);
    // Put it into the outbox before the book forgets it: a beat in between must still renew the lease.
    const settlement: Settlement = {
      id: this.item.id,
      lease: this.item.lease,
      outcome,
      startedAt: this.#begunAt ?? this.startedAt,
      finishedAt: this.#duties.now(),
      ...(reports !== undefined && reports.length > 0 && { reports }),
    };
    const safe = this.#duties.settle(isLate ? withoutFiles(settlement) : settlement, isLate);
    this.#release();
    await safe;
  }

  #release(): void {
    this.tunnel?.close();
    this.#forget();
  }
}
