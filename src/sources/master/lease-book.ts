import { PeerworkError } from '../../errors.js';
import type { Job, Outcome, Progress } from '../../job/job.js';
import type { Lease, TaskOrigin } from '../../job/source.js';
import type { LeaseKey, Settlement, WorkItem } from '../../job/verbs.js';
import type { PeerTunnel } from './peer-tunnel.js';
import type { ReportSender } from './report-sender.js';
import type { RunReports } from './run-reports.js';

/** What a lease needs from its source. */
export interface LeaseDuties {
  settle(settlement: Settlement): Promise<void>;
  readonly reports: ReportSender;
  origin(digest: string): TaskOrigin;
  tunnel(key: LeaseKey): PeerTunnel;
  now(): number;
}

/** The leases that this worker holds of its Master, from the moment they arrive until they are settled or lost. */
export class LeaseBook {
  readonly #duties: LeaseDuties;
  readonly #held = new Map<string, HeldLease>();
  /** Of settlements that tell what a cancelled run had made. */
  readonly #late = new Set<string>();

  constructor(duties: LeaseDuties) {
    this.#duties = duties;
  }

  get size(): number {
    return this.#held.size;
  }

  keys(): LeaseKey[] {
    return [...this.#held.values()].map(({ item }) => ({ id: item.id, lease: item.lease }));
  }

  /** Those whose runs have not begun. */
  waiting(): LeaseKey[] {
    return [...this.#held.values()].filter(({ begun }) => !begun).map(({ item }) => ({ id: item.id, lease: item.lease }));
  }

  /** Of outcomes on their way those whose leases the Master still knows. What a cancelled run had made has none, and is not to be withdrawn for that. */
  renewable(keys: readonly LeaseKey[]): LeaseKey[] {
    if (this.#late.size === 0) return [...keys];
    const known = new Set(keys.map(keyOf));
    for (const late of this.#late) if (!known.has(late)) this.#late.delete(late);
    return keys.filter((key) => !this.#late.has(keyOf(key)));
  }

  open(item: WorkItem): Lease {
    const forget = () => this.#held.delete(keyOf(item));
    const lease = new HeldLease(item, { ...this.#duties, late: () => this.#late.add(keyOf(item)) }, forget);
    this.#held.set(keyOf(item), lease);
    return lease;
  }

  /** The Master says that these are not ours any more: stop the runs, their outcomes will not count. The jobs may go on elsewhere, or here. */
  lose(keys: readonly LeaseKey[]): void {
    for (const key of keys) this.#held.get(keyOf(key))?.lose();
  }

  /** The same, and nobody goes on with them: the signals of the runs abort with `cancelled`. What a run had made by then is still told. */
  cancel(keys: readonly LeaseKey[]): void {
    for (const key of keys) this.#held.get(keyOf(key))?.cancel();
  }
}

class HeldLease implements Lease {
  readonly item: WorkItem;
  readonly job: Job;
  readonly task: TaskOrigin;
  readonly runner: string;
  readonly tunnel?: PeerTunnel;
  readonly #duties: LeaseDuties & { late(): void };
  readonly #forget: () => void;
  readonly #lost = new AbortController();
  #startedAt: number;
  #reports: RunReports | undefined;
  #begun = false;
  #settled = false;
  #cancelled = false;

  constructor(item: WorkItem, duties: LeaseDuties & { late(): void }, forget: () => void) {
    this.item = item;
    const { id, channel, data, attempt, timeoutMs, parents } = item;
    this.job = { id, channel, data, attempt, timeoutMs, ...(parents !== undefined && { parents }) };
    this.runner = item.runner;
    this.task = duties.origin(item.digest);
    if (item.tunnel !== undefined) this.tunnel = duties.tunnel({ id, lease: item.lease });
    this.#duties = duties;
    this.#forget = forget;
    this.#startedAt = duties.now();
  }

  get signal(): AbortSignal {
    return this.#lost.signal;
  }

  get begun(): boolean {
    return this.#begun;
  }

  begin(): void {
    if (this.#begun) return;
    this.#begun = true;
    this.#startedAt = this.#duties.now();
  }

  lose(): void {
    this.#release();
    this.#lost.abort();
  }

  cancel(): void {
    this.#release();
    this.#cancelled = true;
    this.#lost.abort(new PeerworkError('cancelled'));
  }

  /** Also when it is lost: what a run that is cancelled says on its way out is part of its log. */
  report(progress: Progress): void {
    if (this.#settled) return;
    const { reports } = this.#duties;
    this.#reports ??= reports.open(this.item);
    reports.add(this.#reports, progress);
  }

  async settle(outcome: Outcome): Promise<void> {
    if (this.#settled) return;
    this.#settled = true;
    const isLate = this.#cancelled && outcome.state === 'failed' && outcome.output !== undefined;
    if (this.#lost.signal.aborted && !isLate) return;
    if (isLate) this.#duties.late();
    const reports = this.#reports && this.#duties.reports.take(this.#reports);
    // The outbox takes over before the book forgets: a beat in between must still renew the lease.
    const safe = this.#duties.settle({
      id: this.item.id,
      lease: this.item.lease,
      outcome,
      startedAt: this.#startedAt,
      finishedAt: this.#duties.now(),
      ...(reports !== undefined && reports.length > 0 && { reports }),
    });
    this.#release();
    await safe;
  }

  #release(): void {
    this.tunnel?.close();
    this.#forget();
  }
}

function keyOf({ id, lease }: LeaseKey): string {
  return `${lease} ${id}`;
}
