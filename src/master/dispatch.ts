import type { Clock } from '../clock.js';
import type { LeasedJob, Ledger, WorkerRef } from '../ledger/ledger.js';
import type { Log } from '../log.js';

export interface DispatchOptions {
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly log: Log;
  readonly leaseMs: number;
  /** The channels that have a task now. */
  readonly channels: () => readonly string[];
}

interface Request {
  readonly worker: WorkerRef;
  readonly capacity: number;
  readonly answer: (jobs: LeasedJob[]) => void;
  claiming: boolean;
}

/**
 * Brings waiting workers and ready jobs together.
 *
 * A worker has at most one open request. A request is tried against the ledger at once, and again at every wake (jobs were added,
 * given back, became due) until it gets at least one job, is replaced by a newer request of the same worker, or is withdrawn.
 * Requests are served in the order they came, so that no worker starves.
 */
export class Dispatch {
  readonly #options: DispatchOptions;
  readonly #requests = new Map<string, Request>();
  #waking = false;
  #closed = false;

  constructor(options: DispatchOptions) {
    this.#options = options;
  }

  /** How many workers wait for jobs. */
  get waiting(): number {
    return this.#requests.size;
  }

  /** Resolves with 1 to `capacity` jobs, or with none when the request was replaced or withdrawn. */
  request(worker: WorkerRef, capacity: number): Promise<LeasedJob[]> {
    this.withdraw(worker.id);
    if (capacity === 0 || this.#closed) return Promise.resolve([]);
    return new Promise((resolve) => {
      const request: Request = { worker, capacity, answer: resolve, claiming: false };
      this.#requests.set(worker.id, request);
      void this.#serve(request);
    });
  }

  /** Ends the open request of a worker; jobs that are being claimed for it at this moment still go to it. */
  withdraw(workerId: string): void {
    const request = this.#requests.get(workerId);
    if (request === undefined) return;
    this.#requests.delete(workerId);
    if (!request.claiming) request.answer([]);
  }

  /** There may be jobs now: try all open requests, once per event-loop turn at most. */
  wake(): void {
    if (this.#waking || this.#requests.size === 0) return;
    this.#waking = true;
    setImmediate(() => {
      this.#waking = false;
      for (const request of this.#requests.values()) void this.#serve(request);
    });
  }

  close(): void {
    this.#closed = true;
    for (const workerId of [...this.#requests.keys()]) this.withdraw(workerId);
  }

  async #serve(request: Request): Promise<void> {
    if (request.claiming) return;
    request.claiming = true;
    const { ledger, clock, leaseMs, channels, log } = this.#options;
    const now = clock.now();
    let jobs: LeasedJob[] = [];
    try {
      jobs = await ledger.claim({ worker: request.worker, channels: channels(), limit: request.capacity, until: now + leaseMs }, now);
    } catch (error) {
      log.error('jobs could not be claimed', { error });
    }
    request.claiming = false;
    const open = this.#requests.get(request.worker.id) === request;
    if (jobs.length === 0 && open) return;
    if (open) this.#requests.delete(request.worker.id);
    request.answer(jobs);
  }
}
