import type { Clock } from '../clock.js';
import type { Outcome } from '../job/job.js';
import type { Lease, Source } from '../job/source.js';
import type { Capacity } from './capacity.js';

export interface WorkLoopOptions {
  readonly source: Source;
  readonly capacity: Capacity;
  readonly clock: Clock;
  /** Prepares and runs one lease. Never rejects. `stop` is `stopped`. */
  readonly execute: (lease: Lease, stop: AbortSignal) => Promise<Outcome>;
  readonly onStart: (lease: Lease) => void;
  readonly onEnd: (lease: Lease, outcome: Outcome, runMs: number) => void;
}

/**
 * Claims from one source and sees each lease through: claim → execute → settle. One claim is open at a time, for as much as is
 * free; a running job never waits for a claim and a claim never for a running job.
 *
 * Life: running until `drain` (claims no more, waits for what runs; what is still running after the grace is given back) or `close`
 * (gives everything back at once).
 */
export class WorkLoop {
  readonly #options: WorkLoopOptions;
  readonly #claiming = new AbortController();
  readonly #stop = new AbortController();
  readonly #running = new Set<Promise<void>>();
  #freed: () => void = () => {};
  #loop: Promise<void> | undefined;

  constructor(options: WorkLoopOptions) {
    this.#options = options;
  }

  /** Aborted when what runs must be given back. */
  get stopped(): AbortSignal {
    return this.#stop.signal;
  }

  get running(): number {
    return this.#running.size;
  }

  start(): void {
    this.#loop ??= this.#claim();
  }

  async drain(graceMs: number): Promise<void> {
    this.#endClaims();
    await this.#loop;
    const timer = this.#options.clock.after(graceMs, () => this.#stop.abort());
    await Promise.all(this.#running);
    timer.cancel();
  }

  async close(): Promise<void> {
    this.#stop.abort();
    this.#endClaims();
    await this.#loop;
    await Promise.all(this.#running);
  }

  #endClaims(): void {
    this.#claiming.abort();
    this.#freed();
  }

  async #claim(): Promise<void> {
    const { signal } = this.#claiming;
    while (!signal.aborted) {
      const free = this.#options.capacity.target - this.#running.size;
      if (free <= 0) {
        await new Promise<void>((resolve) => {
          this.#freed = resolve;
        });
        continue;
      }
      for (const lease of await this.#options.source.claim(free, signal)) {
        const run = this.#seeThrough(lease).finally(() => {
          this.#running.delete(run);
          this.#freed();
        });
        this.#running.add(run);
      }
    }
  }

  async #seeThrough(lease: Lease): Promise<void> {
    const { clock, capacity, execute, onStart, onEnd } = this.#options;
    if (this.#stop.signal.aborted) return lease.settle({ state: 'released', reason: 'the worker stops' });
    const startedAt = clock.now();
    onStart(lease);
    const outcome = await execute(lease, this.#stop.signal);
    capacity.count();
    onEnd(lease, outcome, clock.now() - startedAt);
    // Not awaited: the outbox and the source carry it from here, and this slot is free already.
    void lease.settle(outcome);
  }
}
