import { type Clock, pause } from '../clock.js';
import { PeerworkError } from '../errors.js';
import { boundedProgress } from '../job/bounded-progress.js';
import type { ChildBounds } from '../job/child-bounds.js';
import type { JobInput, Progress } from '../job/job.js';
import type { LeaseKey, Report, SettleAnswer, Settlement } from '../job/verbs.js';
import type { AddedJob, CancelledJob, ChildPolicy, LeasedJob, Ledger, LedgerChange, WorkerMarks, WorkerRef } from '../ledger/ledger.js';
import type { Log } from '../log.js';
import { version } from '../version.js';
import type { ConnectedWorker } from './connected-worker.js';
import type { Dispatch } from './dispatch.js';
import type { MasterFiles } from './files.js';
import type { HistoryWriter } from './history-writer.js';
import type { Permits } from './permits.js';
import type { Results } from './results.js';
import { WorkerRates } from './worker-rates.js';

export type RunReport = LeaseKey & Report;

export interface LeaseRequest {
  readonly worker: WorkerRef;
  readonly channels: readonly string[];
  readonly labels?: readonly string[];
  readonly limit: number;
  readonly waitMs: number;
  /** How many jobs the worker may hold in total; default: the maximum of any worker, MAX_HELD_JOBS. */
  readonly maxHeld?: () => number;
  /** Lease length in milliseconds. Default: the Master's. */
  readonly leaseMs?: number;
  readonly signal?: AbortSignal;
}

export interface ExtendOptions {
  /** Lease length from now on, in milliseconds; default: the Master's. */
  readonly leaseMs?: number;
  /** Leases whose runs have not begun, so that their time limit does not count yet. */
  readonly waiting?: readonly LeaseKey[];
  /** Leases whose runs have ended, so that their time limit no longer counts. */
  readonly ended?: readonly LeaseKey[];
}

export type JobServiceEvent =
  | { readonly kind: 'ledger'; readonly change: LedgerChange }
  | { readonly kind: 'progress'; readonly id: string; readonly worker: string; readonly progress: Progress }
  | { readonly kind: 'worker'; readonly event: 'connected' | 'disconnected'; readonly worker: ConnectedWorker };

export interface JobServiceOptions {
  readonly name: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly ledger: Ledger;
  readonly results: Results;
  readonly dispatch: Dispatch;
  readonly history: HistoryWriter;
  readonly permits: Permits;
  readonly files: MasterFiles;
  /** Length of workers' leases, in milliseconds. */
  readonly leaseMs: number;
  /** Interval between two heartbeats of a worker, in milliseconds. */
  readonly beatMs: number;
  /** Channels for which this Master has a task. */
  readonly taskChannels: () => readonly string[];
  /** Where children of a channel's jobs may go besides that channel; default: nowhere. */
  readonly childBounds?: (channel: string) => ChildBounds;
  readonly workers: () => ConnectedWorker[];
  /** Notifies a linked worker that one of its runs no longer counts. */
  readonly notifyCancelled: (workerId: string, lease: LeaseKey) => void;
  /** Announces that something will be due at this instant. */
  readonly onDue: (at: number) => void;
}

/**
 * The single entry point for everything that drives the Master from outside: linked workers, the HTTP API, the dashboard, foreign
 * clients. Changes to the ledger wake whatever waits for them, and changes by other Masters on the same ledger are passed on.
 * Reads, and writes that nothing waits for, go to `ledger` directly.
 */
export class JobService {
  readonly name: string;
  readonly version = version;
  readonly startedAt: number;
  readonly clock: Clock;
  readonly log: Log;
  readonly ledger: Ledger;
  readonly results: Results;
  readonly files: MasterFiles;
  readonly leaseMs: number;
  readonly beatMs: number;
  readonly taskChannels: () => readonly string[];
  /** Rate limits of workers. */
  readonly rates = new WorkerRates();
  readonly #options: JobServiceOptions;
  readonly #listeners = new Set<(event: JobServiceEvent) => void>();
  readonly #unwatch: () => void;
  #requests = 0;

  constructor(options: JobServiceOptions) {
    this.#options = options;
    this.name = options.name;
    this.startedAt = options.clock.wall();
    this.clock = options.clock;
    this.log = options.log;
    this.ledger = options.ledger;
    this.results = options.results;
    this.files = options.files;
    this.leaseMs = options.leaseMs;
    this.beatMs = options.beatMs;
    this.taskChannels = options.taskChannels;
    this.#unwatch = options.ledger.watch((change) => this.#changed(change));
  }

  /** Adds jobs; resolves when they are in the ledger. */
  push(jobs: readonly JobInput[]): Promise<AddedJob[]> {
    const { ledger, clock } = this.#options;
    const adding = ledger.add(jobs, clock.now());
    // Not after the commit: this way the claims of waiting workers share the transaction, which saves a third of the latency on an
    // idle grid.
    this.wake();
    return adding;
  }

  /** Cancels jobs. Resolves with the ids of those that were not settled yet; their workers are notified. */
  async cancel(ids: readonly string[]): Promise<string[]> {
    const { ledger, clock } = this.#options;
    return (await ledger.cancel(ids, clock.now())).map(({ id }) => id);
  }

  /**
   * Leases jobs to a worker that is not linked: waits up to `waitMs` for at least one. Rejects with `worker-revoked` or
   * `worker-unapproved`; a drained worker receives none.
   */
  async lease(request: LeaseRequest): Promise<LeasedJob[]> {
    const { worker, channels, labels = [], limit, waitMs, leaseMs, signal, maxHeld } = request;
    const { dispatch, permits, clock } = this.#options;
    const refusal = permits.admit(worker.id, worker.name, clock.now());
    if (refusal !== undefined) throw new PeerworkError(refusal, worker.name);
    const waiting = new AbortController();
    const end = () => waiting.abort();
    signal?.addEventListener('abort', end, { once: true });
    if (signal?.aborted) end();
    this.#requests += 1;
    const key = `${worker.id} ${this.#requests}`;
    const requested = dispatch.request({
      worker,
      key,
      capacity: limit,
      channels: () => channels,
      labels,
      ...(maxHeld === undefined ? {} : { maxHeld }),
      ...(leaseMs === undefined ? {} : { leaseMs }),
    });
    const waited = pause(clock, waitMs, waiting.signal).then(() => dispatch.withdraw(key));
    const jobs = await requested;
    end();
    signal?.removeEventListener('abort', end);
    await waited;
    if (jobs.length === 0 || (!signal?.aborted && permits.refusalOf(worker.id) === undefined)) return jobs;
    // The caller is gone, or may no longer work, so these leases will not be used.
    await this.giveBack(worker, jobs, 'the link ended');
    return [];
  }

  /**
   * Renews leases; resolves with those that the worker does not hold. This method, `settle` and `report` throw `worker-revoked`,
   * `worker-unapproved` or `rpc-overloaded`.
   */
  async extend(worker: WorkerRef, leases: readonly LeaseKey[], options: ExtendOptions = {}): Promise<LeaseKey[]> {
    const { ledger, clock, leaseMs } = this.#options;
    const now = clock.now();
    this.#admitted(worker);
    const { waiting = [], ended = [] } = options;
    return ledger.extend(worker, leases, now + (options.leaseMs ?? leaseMs), now, { leases: waiting, ended });
  }

  /**
   * Settles leases. `policy` says where children may go; default: as declared by tasks and owner. Reports that come with an outcome
   * are emitted before it, if `holds` returns true for the lease.
   */
  async settle(
    worker: WorkerRef,
    settlements: readonly Settlement[],
    policy: ChildPolicy = this.#options.childBounds ?? nowhereElse,
    holds: (key: LeaseKey) => boolean = never,
  ): Promise<SettleAnswer[]> {
    const { ledger, clock, history } = this.#options;
    const now = clock.now();
    this.#admitted(worker);
    this.rates.take(worker.id, 'children', childrenIn(settlements), now);
    const all = settlements.map((settlement) =>
      history.settled(worker, settlement, (progress) => {
        if (holds(settlement)) this.#emit({ kind: 'progress', id: settlement.id, worker: worker.name, progress });
      }),
    );
    const settling = ledger.settle(worker, all, now, policy);
    // Not after the commit: this way readers of results share the transaction.
    this.wake();
    const answers = await settling;
    this.rates.settled(worker.id, answers.filter((answer) => answer === 'settled').length, now);
    this.#options.dispatch.freed(worker.id);
    return answers;
  }

  /** Gives back jobs that will not be run under these leases; no attempt is charged. */
  async giveBack(worker: WorkerRef, leases: readonly LeaseKey[], reason: string): Promise<void> {
    const now = this.#options.clock.now();
    const outcome = { state: 'released', reason } as const;
    await this.#options.ledger.settle(
      worker,
      leases.map(({ id, lease }) => ({ id, lease, outcome, startedAt: now, finishedAt: now })),
      now,
    );
    this.wake();
  }

  /**
   * Stores reports of running jobs, and emits those whose lease passes `holds`. For the others, the ledger decides whether the run
   * has just ended or never belonged to the worker. Throws `rpc-overloaded` if too many are pending, and then stores none.
   */
  report(worker: WorkerRef, reports: readonly RunReport[], holds: (key: LeaseKey) => boolean = always): void {
    const { clock, history } = this.#options;
    this.#admitted(worker);
    if (!history.accepts) throw new PeerworkError('rpc-overloaded', 'too many reports wait for the ledger');
    this.rates.take(worker.id, 'reports', reports.length, clock.now());
    for (const { id, lease, n, progress: reported } of reports) {
      const progress = boundedProgress(reported);
      if (progress === undefined) continue;
      const isNew = history.add(worker, { id, lease }, n === undefined ? { progress } : { n, progress });
      if (isNew && holds({ id, lease })) this.#emit({ kind: 'progress', id, worker: worker.name, progress });
    }
  }

  /** Resolves when all earlier reports are in the ledger. */
  reported(): Promise<void> {
    return this.#options.history.written();
  }

  /** Returns the workers that are linked to this Master now. */
  workers(): ConnectedWorker[] {
    return this.#options.workers();
  }

  /** Approves, revokes (which ends its link), drains or resumes a worker. */
  async mark(worker: WorkerRef, marks: WorkerMarks): Promise<void> {
    const { permits, ledger, clock } = this.#options;
    await permits.mark(worker, marks, clock.now());
    if (permits.refusalOf(worker.id) === undefined) return;
    // Its runs no longer count, and their jobs can now start elsewhere.
    await ledger.reconcile(worker, [], clock.now(), { charge: false }, clock.now());
    this.wake();
  }

  /** Calls `listener` for each event from now on; the returned function unsubscribes. */
  watch(listener: (event: JobServiceEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Wakes readers of results and waiting workers: something may be settled or ready now, or after the ledger's work of this turn. */
  wake(): void {
    this.#options.results.wake();
    this.#options.dispatch.wake();
  }

  /** Announces that a worker connected or disconnected. */
  announce(event: 'connected' | 'disconnected', worker: ConnectedWorker): void {
    this.#emit({ kind: 'worker', event, worker });
  }

  close(): void {
    this.#unwatch();
    this.#listeners.clear();
  }

  #changed(change: LedgerChange): void {
    const { clock, dispatch, results, permits, log, onDue } = this.#options;
    if (change.ready) dispatch.wake();
    if (change.settled) results.wake();
    if (change.dueAt !== undefined) onDue(change.dueAt);
    this.#notifyCancelled(change.cancelled);
    if (!change.own && change.cut)
      permits.reload(clock.now()).catch((error: unknown) =>
        log.warn('the marks of workers could not be read', {
          error,
          hint: 'Check the ledger’s database; if a worker was approved or revoked in the meantime, do it again.',
        }),
      );
    if (!change.own)
      for (const { kind, id } of change.rows)
        if (kind === 'worker')
          permits.refresh(id).catch((error: unknown) =>
            log.warn('the marks of a worker could not be read', {
              error,
              hint: 'Check the ledger’s database; if this worker was approved or revoked in the meantime, do it again.',
            }),
          );
    this.#emit({ kind: 'ledger', change });
  }

  #admitted({ id, name }: WorkerRef): void {
    const refusal = this.#options.permits.refusalOf(id);
    if (refusal !== undefined) throw new PeerworkError(refusal, name);
  }

  /** Any Master may have cancelled it: the one that holds the worker's link notifies the worker. */
  #notifyCancelled(cancelled: readonly CancelledJob[]): void {
    for (const { id, running } of cancelled)
      if (running !== undefined) this.#options.notifyCancelled(running.workerId, { id, lease: running.lease });
  }

  #emit(event: JobServiceEvent): void {
    for (const listener of this.#listeners) listener(event);
  }
}

const nowhereElse = () => ({});
const never = () => false;
const always = () => true;

function childrenIn(settlements: readonly Settlement[]): number {
  return settlements.reduce((sum, { outcome }) => sum + (outcome.state === 'completed' ? (outcome.children?.length ?? 0) : 0), 0);
}
