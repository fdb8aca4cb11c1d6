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
  /** There was a wake while it was claiming: what it found then may be out of date. */
  woken: boolean;
}

/** When all requests are tried, first one alone, and each time that all got some, this many times as many together. */
const WIDENING = 4;

/**
 * Brings waiting workers and ready jobs together.
 *
 * A worker has at most one open request. A request is tried against the ledger at once, and again at every wake (jobs were added,
 * given back, became due) until it gets at least one job, is replaced by a newer request of the same worker, or is withdrawn.
 * Requests are served in the order they came, so that no worker starves. All ask for the same channels: when one got
 * nothing, the others need not ask.
 */
export class Dispatch {
  readonly #options: DispatchOptions;
  readonly #requests = new Map<string, Request>();
  #waking = false;
  #wokenAgain = false;
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
      const request: Request = { worker, capacity, answer: resolve, claiming: false, woken: false };
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

  /** There may be jobs now, or will be by what the ledger was given in this turn: the claims then share its transaction. */
  wake(): void {
    this.#wokenAgain = true;
    if (this.#waking || this.#requests.size === 0) return;
    this.#waking = true;
    queueMicrotask(() => void this.#serveAll());
  }

  close(): void {
    this.#closed = true;
    for (const workerId of [...this.#requests.keys()]) this.withdraw(workerId);
  }

  async #serveAll(): Promise<void> {
    while (this.#wokenAgain) {
      this.#wokenAgain = false;
      const open = [...this.#requests.values()];
      for (let width = 1, more = true; more && open.length > 0; width *= WIDENING)
        more = (await Promise.all(open.splice(0, width).map((request) => this.#serve(request)))).every(Boolean);
    }
    this.#waking = false;
  }

  /** Says whether there were jobs, so that there may be more. */
  async #serve(request: Request): Promise<boolean> {
    request.woken = true;
    if (request.claiming) return true;
    request.claiming = true;
    const isOpen = () => this.#requests.get(request.worker.id) === request;
    let jobs: LeasedJob[] = [];
    while (request.woken && jobs.length === 0 && isOpen()) {
      request.woken = false;
      jobs = await this.#claim(request);
    }
    request.claiming = false;
    if (jobs.length === 0 && isOpen()) return false;
    if (isOpen()) this.#requests.delete(request.worker.id);
    request.answer(jobs);
    return jobs.length > 0;
  }

  async #claim({ worker, capacity }: Request): Promise<LeasedJob[]> {
    const { ledger, clock, leaseMs, channels, log } = this.#options;
    const now = clock.now();
    try {
      return await ledger.claim({ worker, channels: channels(), limit: capacity, until: now + leaseMs }, now);
    } catch (error) {
      log.error('jobs could not be claimed', { error });
      return [];
    }
  }
}
