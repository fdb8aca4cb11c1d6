import { type Clock, pause } from '../clock.js';
import { PeerworkError } from '../errors.js';
import { boundedProgress } from '../job/bounded-progress.js';
import type { ChildBounds } from '../job/child-bounds.js';
import type { JobInput } from '../job/job.js';
import type { LeaseKey, SettleAnswer, Settlement } from '../job/verbs.js';
import type { AddedJob, CancelledJob, ChildPolicy, LeasedJob, Ledger, LedgerChange, WorkerMarks, WorkerRef } from '../ledger/ledger.js';
import type { Log } from '../log.js';
import { version } from '../version.js';
import type { Desk, DeskEvent, LeaseRequest, RunReport } from './desk.js';
import type { Dispatch } from './dispatch.js';
import type { Journal } from './journal.js';
import type { ConnectedWorker } from './options.js';
import type { Permits } from './permits.js';
import type { Results } from './results.js';
import { WorkerRates } from './worker-rates.js';

export interface JobDeskOptions {
  readonly name: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly ledger: Ledger;
  readonly results: Results;
  readonly dispatch: Dispatch;
  readonly journal: Journal;
  readonly permits: Permits;
  readonly leaseMs: number;
  readonly beatMs: number;
  readonly taskChannels: () => readonly string[];
  /** Where children of a channel's jobs may go beside it; default: nowhere. */
  readonly childBounds?: (channel: string) => ChildBounds;
  readonly workers: () => ConnectedWorker[];
  /** Tells a linked worker that a run of its does not count any more. */
  readonly tell: (workerId: string, lease: LeaseKey) => void;
  /** Something will be due at this instant. */
  readonly due: (at: number) => void;
}

/** See `Desk`. Wakes who waits for what its callers change, and passes on what others change on the same ledger. */
export class JobDesk implements Desk {
  readonly version = version;
  readonly startedAt: number;
  readonly rates = new WorkerRates();
  readonly #options: JobDeskOptions;
  readonly #listeners = new Set<(event: DeskEvent) => void>();
  readonly #unwatch: () => void;
  #requests = 0;

  constructor(options: JobDeskOptions) {
    this.#options = options;
    this.startedAt = options.clock.wall();
    this.#unwatch = options.ledger.watch((change) => this.#changed(change));
  }

  get name(): string {
    return this.#options.name;
  }

  get clock(): Clock {
    return this.#options.clock;
  }

  get log(): Log {
    return this.#options.log;
  }

  get ledger(): Ledger {
    return this.#options.ledger;
  }

  get results(): Results {
    return this.#options.results;
  }

  get leaseMs(): number {
    return this.#options.leaseMs;
  }

  get beatMs(): number {
    return this.#options.beatMs;
  }

  get taskChannels(): () => readonly string[] {
    return this.#options.taskChannels;
  }

  push(jobs: readonly JobInput[]): Promise<AddedJob[]> {
    const { ledger, clock } = this.#options;
    const adding = ledger.add(jobs, clock.now());
    // Now, not afterwards: the claims of waiting workers share the transaction, which is a third less to wait for on an idle grid.
    this.wake();
    return adding;
  }

  async cancel(ids: readonly string[]): Promise<string[]> {
    const { ledger, clock } = this.#options;
    return (await ledger.cancel(ids, clock.now())).map(({ id }) => id);
  }

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
    // Who asked has gone, or may not work any more: nobody will run them under these leases.
    await this.giveBack(worker, jobs, 'the link ended');
    return [];
  }

  async extend(
    worker: WorkerRef,
    leases: readonly LeaseKey[],
    options: { readonly leaseMs?: number; readonly waiting?: readonly LeaseKey[]; readonly ended?: readonly LeaseKey[] } = {},
  ): Promise<LeaseKey[]> {
    const { ledger, clock, leaseMs } = this.#options;
    const now = clock.now();
    this.#admitted(worker);
    const { waiting = [], ended = [] } = options;
    return ledger.extend(worker, leases, now + (options.leaseMs ?? leaseMs), now, { leases: waiting, ended });
  }

  async settle(
    worker: WorkerRef,
    settlements: readonly Settlement[],
    policy: ChildPolicy = this.#options.childBounds ?? nowhereElse,
    holds: (key: LeaseKey) => boolean = nobody,
  ): Promise<SettleAnswer[]> {
    const { ledger, clock, journal } = this.#options;
    const now = clock.now();
    this.#admitted(worker);
    this.rates.take(worker.id, 'children', childrenIn(settlements), now);
    const all = settlements.map((settlement) =>
      journal.settled(worker, settlement, (progress) => {
        if (holds(settlement)) this.#emit({ kind: 'progress', id: settlement.id, worker: worker.name, progress });
      }),
    );
    const settling = ledger.settle(worker, all, now, policy);
    // Now, not afterwards: those who read the results share the transaction.
    this.wake();
    const answers = await settling;
    this.rates.settled(worker.id, answers.filter((answer) => answer === 'settled').length, now);
    this.#options.dispatch.freed(worker.id);
    return answers;
  }

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

  report(worker: WorkerRef, reports: readonly RunReport[], holds: (key: LeaseKey) => boolean = anybody): void {
    const { clock, journal } = this.#options;
    this.#admitted(worker);
    if (!journal.takes) throw new PeerworkError('rpc-overloaded', 'too many reports wait for the ledger');
    this.rates.take(worker.id, 'reports', reports.length, clock.now());
    for (const { id, lease, n, progress: told } of reports) {
      const progress = boundedProgress(told);
      if (progress === undefined) continue;
      const isNew = journal.add(worker, { id, lease }, n === undefined ? { progress } : { n, progress });
      if (isNew && holds({ id, lease })) this.#emit({ kind: 'progress', id, worker: worker.name, progress });
    }
  }

  reported(): Promise<void> {
    return this.#options.journal.written();
  }

  workers(): ConnectedWorker[] {
    return this.#options.workers();
  }

  async mark(worker: WorkerRef, marks: WorkerMarks): Promise<void> {
    const { permits, ledger, clock } = this.#options;
    await permits.mark(worker, marks, clock.now());
    if (permits.refusalOf(worker.id) === undefined) return;
    // What it runs does not count any more, and can begin elsewhere now.
    await ledger.reconcile(worker, [], clock.now(), { charge: false }, clock.now());
    this.wake();
  }

  watch(listener: (event: DeskEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Jobs may be ready, results may be there, or will be by what the ledger was given in this turn. */
  wake(): void {
    this.#options.results.wake();
    this.#options.dispatch.wake();
  }

  /** A worker came or went. */
  announce(event: 'connected' | 'disconnected', worker: ConnectedWorker): void {
    this.#emit({ kind: 'worker', event, worker });
  }

  close(): void {
    this.#unwatch();
    this.#listeners.clear();
  }

  #changed(change: LedgerChange): void {
    const { clock, dispatch, results, permits, log, due } = this.#options;
    if (change.ready) dispatch.wake();
    if (change.settled) results.wake();
    if (change.dueAt !== undefined) due(change.dueAt);
    this.#tellCancelled(change.cancelled);
    if (!change.own && change.cut)
      permits.reload(clock.now()).catch((error: unknown) => log.warn('the marks of workers could not be read', { error }));
    if (!change.own)
      for (const { kind, id } of change.rows)
        if (kind === 'worker')
          permits.refresh(id).catch((error: unknown) => log.warn('the marks of a worker could not be read', { error }));
    this.#emit({ kind: 'ledger', change });
  }

  #admitted({ id, name }: WorkerRef): void {
    const refusal = this.#options.permits.refusalOf(id);
    if (refusal !== undefined) throw new PeerworkError(refusal, name);
  }

  /** Whichever Master cancelled it: the one that the worker is linked to tells it. */
  #tellCancelled(cancelled: readonly CancelledJob[]): void {
    for (const { id, running } of cancelled) if (running !== undefined) this.#options.tell(running.workerId, { id, lease: running.lease });
  }

  #emit(event: DeskEvent): void {
    for (const listener of this.#listeners) listener(event);
  }
}

const nowhereElse = () => ({});
const nobody = () => false;
const anybody = () => true;

function childrenIn(settlements: readonly Settlement[]): number {
  return settlements.reduce((sum, { outcome }) => sum + (outcome.state === 'completed' ? (outcome.children?.length ?? 0) : 0), 0);
}
