import type { Clock } from '../clock.js';
import { MAX_HELD_JOBS } from '../job/limits.js';
import type { LeasedJob, Ledger, WorkerRef } from '../ledger/ledger.js';
import type { Log } from '../log.js';

export interface DispatchOptions {
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly log: Log;
  readonly leaseMs: number;
}

/** A worker's capabilities and how many jobs it requests. */
export interface WorkRequest {
  readonly worker: WorkerRef;
  readonly capacity: number;
  /** Evaluated at each attempt, because the channels with a task may change. */
  readonly channels: () => readonly string[];
  readonly labels: readonly string[];
  /** How many jobs the worker may hold in total; evaluated at each attempt. Default MAX_HELD_JOBS. */
  readonly maxHeld?: () => number;
  /** Lease length in milliseconds. Default: the Master's. */
  readonly leaseMs?: number;
  /** Identifies the request; a worker with several keys may have several pending requests. Default: the worker's id. */
  readonly key?: string;
}

interface Request extends WorkRequest {
  readonly key: string;
  readonly respond: (jobs: LeasedJob[]) => void;
  claiming: boolean;
  /** A wake arrived during the claim, so its result may be out of date. */
  woken: boolean;
}

const MAX_SERVED = 10_000;
const defaultHeld = () => MAX_HELD_JOBS;

/** Requests are tried in batches: one alone at first, and this many times as many whenever the whole batch received jobs. */
const WIDENING = 4;

/**
 * Matches waiting workers with ready jobs.
 *
 * A worker has one pending request, unless it uses several keys. A request is tried against the ledger at once, and again on every
 * wake (jobs were added, given back or became due) until it receives at least one job, is replaced by a newer request with the same
 * key, or is withdrawn. Requests are served in order of arrival, so that no worker starves. Once one receives nothing, others with
 * the same channels and labels need not be tried. Nothing is claimed for a worker on hold (drained or not permitted); its request
 * stays pending.
 */
export class Dispatch {
  readonly #options: DispatchOptions;
  readonly #requests = new Map<string, Request>();
  /** Pending requests of workers that already hold as many jobs as they may. */
  readonly #full = new Set<Request>();
  readonly #onHold = new Set<string>();
  /** Ids of workers that received jobs here; those that have gone longest without a job are evicted first. */
  readonly #served = new Set<string>();
  #waking = false;
  #wokenAgain = false;
  #closed = false;

  constructor(options: DispatchOptions) {
    this.#options = options;
  }

  /** Number of pending requests. */
  get waiting(): number {
    return this.#requests.size;
  }

  /** Ids of the workers that received jobs here. */
  get served(): readonly string[] {
    return [...this.#served];
  }

  /** Resolves with 1 to `capacity` jobs, or with none if the request is replaced or withdrawn. */
  request(wanted: WorkRequest): Promise<LeasedJob[]> {
    const { key = wanted.worker.id } = wanted;
    this.withdraw(key);
    if (wanted.capacity === 0 || this.#closed) return Promise.resolve([]);
    return new Promise((resolve) => {
      const request: Request = { ...wanted, key, respond: resolve, claiming: false, woken: false };
      this.#requests.set(key, request);
      void this.#serve(request);
    });
  }

  /** Withdraws a pending request by its key; jobs that are just being claimed for it are still delivered. */
  withdraw(key: string): void {
    const request = this.#requests.get(key);
    if (request === undefined) return;
    this.#requests.delete(key);
    this.#full.delete(request);
    if (!request.claiming) request.respond([]);
  }

  /** Retries the requests of a worker that now holds fewer jobs. */
  freed(workerId: string): void {
    for (const request of this.#full) if (request.worker.id === workerId) void this.#serve(request);
  }

  /** Stops giving jobs to the worker, or resumes. */
  hold(workerId: string, held: boolean): void {
    if (held) this.#onHold.add(workerId);
    else if (this.#onHold.delete(workerId)) this.wake();
  }

  /**
   * Retries all pending requests: jobs may be ready now, or after the ledger's work of this turn, whose transaction the claims then
   * share.
   */
  wake(): void {
    this.#wokenAgain = true;
    if (this.#waking || this.#requests.size === 0) return;
    this.#waking = true;
    queueMicrotask(() => void this.#serveAll());
  }

  /** Ends all pending requests with no jobs, and accepts no more. */
  close(): void {
    this.#closed = true;
    for (const key of [...this.#requests.keys()]) this.withdraw(key);
  }

  async #serveAll(): Promise<void> {
    while (this.#wokenAgain) {
      this.#wokenAgain = false;
      await Promise.all([...this.#groupAlike().values()].map((requests) => this.#serveAlike(requests)));
    }
    this.#waking = false;
  }

  /** Groups the pending requests by channels and labels. */
  #groupAlike(): Map<string, Request[]> {
    const kinds = new Map<string, Request[]>();
    for (const request of this.#requests.values()) {
      const kind = JSON.stringify([request.channels(), request.labels]);
      const group = kinds.get(kind);
      if (group === undefined) kinds.set(kind, [request]);
      else group.push(request);
    }
    return kinds;
  }

  async #serveAlike(open: Request[]): Promise<void> {
    for (let width = 1, more = true; more && open.length > 0; width *= WIDENING)
      more = (await Promise.all(open.splice(0, width).map((request) => this.#serve(request)))).every(Boolean);
  }

  /** Resolves with whether similar requests may still find jobs. */
  async #serve(request: Request): Promise<boolean> {
    if (this.#onHold.has(request.worker.id)) return true;
    request.woken = true;
    if (request.claiming) return true;
    request.claiming = true;
    this.#full.delete(request);
    const isOpen = () => this.#requests.get(request.key) === request;
    let jobs: LeasedJob[] = [];
    let full = false;
    const onFull = () => {
      full = true;
    };
    while (request.woken && jobs.length === 0 && isOpen()) {
      request.woken = false;
      jobs = await this.#claim(request, onFull);
    }
    request.claiming = false;
    // A worker at its limit waits until it has settled some jobs; that says nothing about other workers.
    if (jobs.length === 0 && isOpen()) {
      if (full) this.#full.add(request);
      return full;
    }
    if (isOpen()) this.#requests.delete(request.key);
    if (jobs.length > 0) this.#markServed(request.worker.id);
    request.respond(jobs);
    return jobs.length > 0;
  }

  #markServed(workerId: string): void {
    this.#served.delete(workerId);
    this.#served.add(workerId);
    const [oldest] = this.#served;
    if (this.#served.size > MAX_SERVED && oldest !== undefined) this.#served.delete(oldest);
  }

  async #claim(request: Request, onFull: () => void): Promise<LeasedJob[]> {
    const { worker, capacity, channels, labels, maxHeld = defaultHeld, leaseMs = this.#options.leaseMs } = request;
    const { ledger, clock, log } = this.#options;
    const now = clock.now();
    try {
      const wanted = { worker, channels: channels(), labels, limit: capacity, until: now + leaseMs };
      return await ledger.claim({ ...wanted, maxHeld: maxHeld(), onFull }, now);
    } catch (error) {
      log.error('jobs could not be claimed', {
        error,
        hint: 'No action needed if it passes; it is retried. Otherwise check the disk or database of the ledger.',
      });
      return [];
    }
  }
}
