import type { Clock, Timer } from '../clock.js';
import type { Outcome } from '../job/job.js';
import type { Lease, Source } from '../job/source.js';
import { type Capacity, claimable } from './shares.js';

export interface WorkLoopOptions {
  readonly capacity: Capacity;
  readonly clock: Clock;
  /** Prepares and runs one lease. Never rejects. `stop` is `stopped`. */
  readonly execute: (lease: Lease, stop: AbortSignal) => Promise<Outcome>;
  readonly onStart: (lease: Lease, source: Source) => void;
  /** Called when a source breaks the promise that a claim never rejects. The next claim is delayed. */
  readonly onFault: (source: Source, fault: unknown) => void;
  readonly onEnd: (lease: Lease, outcome: Outcome, runMs: number, source: Source) => void;
}

/** A source whose claim stays open this long counts as idle until one returns sooner: others may take its slots. */
const HEAD_START_MS = 200;
/**
 * Claims of idle sources are withdrawn when no slot has been free for this long, since their jobs would have to wait here. While
 * jobs are quicker than this, a slot will soon be free. After a withdrawal it is unknown whether the source has work, so its next
 * claim gets a head start again: at worst a tenth of one slot's time.
 */
const FULL_MS = 2_000;
/** Delay after a source returns no jobs although its claim was not withdrawn. */
const EMPTY_MS = 1_000;
/** When a source has work again after a pause, its usage is at most this far from that of the others: unused time is not saved up. */
const CREDIT_MS = 10_000;

/** A source and its use of the slots. */
interface Consumer {
  readonly source: Source;
  readonly waiting: Lease[];
  running: number;
  claim: { readonly capacity: number; readonly withdraw: AbortController; headStart?: Timer } | undefined;
  idle: boolean;
  /** Total slot time of its jobs since it joined, including preparation, in milliseconds. */
  usedMs: number;
}

/**
 * Claims from its sources and takes each lease through claim → execute → settle. A source joins when it is ready and has one open
 * claim at a time; `claimable` decides how much it may claim. A running job never waits for a claim, nor a claim for a running job.
 *
 * It runs until `drain` (stops claiming, waits for running jobs, gives the rest back after the grace period) or `close` (gives
 * everything back at once).
 */
export class WorkLoop {
  readonly #options: WorkLoopOptions;
  readonly #consumers: Consumer[] = [];
  readonly #claiming = new AbortController();
  readonly #stop = new AbortController();
  readonly #running = new Set<Promise<void>>();
  readonly #claims = new Set<Promise<void>>();
  #chargedAt = 0;
  /** Instants of the last two times a slot became free. */
  #freedAt: readonly [last: number, before: number] = [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY];
  #fullTimer: Timer | undefined;

  constructor(options: WorkLoopOptions) {
    this.#options = options;
  }

  /** Aborts when running jobs must be given back. */
  get stopped(): AbortSignal {
    return this.#stop.signal;
  }

  /** Number of jobs that were claimed and have not ended. */
  get running(): number {
    return this.#consumers.reduce((sum, { running, waiting }) => sum + running + waiting.length, 0);
  }

  /** Claims from these sources as well from now on. */
  add(...sources: readonly Source[]): void {
    for (const source of sources) this.#consumers.push({ source, waiting: [], running: 0, claim: undefined, idle: false, usedMs: 0 });
    // A source that was alone until now may hold all slots.
    for (const consumer of this.#consumers) this.#giveHeadStart(consumer);
    this.#fill();
  }

  /** Stops claiming and waits for running jobs; after the grace period the rest is given back. */
  async drain(graceMs: number): Promise<void> {
    await this.#endClaims();
    const timer = this.#options.clock.after(graceMs, () => this.#stop.abort());
    await Promise.all(this.#running);
    timer.cancel();
  }

  /** Gives everything back at once. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#endClaims();
    await Promise.all(this.#running);
  }

  async #endClaims(): Promise<void> {
    this.#claiming.abort();
    this.#fullTimer?.cancel();
    for (const consumer of this.#consumers) this.#withdraw(consumer);
    await Promise.all(this.#claims);
    // Given back at once: a job that never got a slot here can start elsewhere sooner.
    await Promise.all(this.#consumers.flatMap(({ waiting }) => waiting.splice(0).map(giveBack)));
  }

  /** Opens the claims that may be open now. */
  #fill(): void {
    if (this.#claiming.signal.aborted) return;
    const { target } = this.#options.capacity;
    this.#charge();
    const shares = this.#consumers.map(({ running, waiting, claim, idle, usedMs }) => ({
      held: running + waiting.length,
      claiming: claim?.capacity,
      idle,
      usedMs,
    }));
    // Requires two: the end of one long job does not mean that the next one ends soon.
    const turningOver = this.#consumers.length > 1 && this.#chargedAt - this.#freedAt[1] < FULL_MS;
    for (const [at, capacity] of claimable({ target, turningOver }, shares).entries()) {
      const consumer = this.#consumers[at];
      if (consumer === undefined || capacity === 0) continue;
      const claim = this.#claim(consumer, capacity).finally(() => this.#claims.delete(claim));
      this.#claims.add(claim);
    }
    this.#watchFullness(target);
  }

  async #claim(consumer: Consumer, capacity: number): Promise<void> {
    const { clock } = this.#options;
    const claimedAt = clock.now();
    const withdraw = new AbortController();
    consumer.claim = { capacity, withdraw };
    this.#giveHeadStart(consumer);
    const leases = await consumer.source.claim(capacity, withdraw.signal).catch((fault: unknown) => {
      this.#options.onFault(consumer.source, fault);
      return [];
    });
    const quick = clock.now() - claimedAt < HEAD_START_MS;
    consumer.claim.headStart?.cancel();
    consumer.claim = undefined;
    if (leases.length > 0) {
      if (quick) consumer.idle = false;
      this.#charge();
      this.#levelUsage(consumer);
      consumer.waiting.push(...leases);
      this.#startWaiting();
    } else if (!withdraw.signal.aborted) {
      // Closed or broken: not claimed from again within the same turn.
      consumer.claim = { capacity: 0, withdraw };
      clock.after(EMPTY_MS, () => this.#reopen(consumer));
    }
    this.#fill();
  }

  #reopen(consumer: Consumer): void {
    consumer.claim = undefined;
    this.#fill();
  }

  /** If there are other sources, a claim that does not return keeps its slots only for a short time. */
  #giveHeadStart(consumer: Consumer): void {
    if (consumer.claim === undefined || consumer.idle || this.#consumers.length === 1) return;
    consumer.claim.headStart ??= this.#options.clock.after(HEAD_START_MS, () => this.#countAsIdle(consumer), { unref: true });
  }

  #countAsIdle(consumer: Consumer): void {
    consumer.idle = true;
    this.#fill();
  }

  /** While all slots stay taken, several claims on the same slots would only bring jobs that have to wait here. */
  #watchFullness(target: number): void {
    const open = this.#consumers.length > 1 && this.#consumers.some(({ claim }) => claim !== undefined);
    if (!open || this.running < target) {
      this.#fullTimer?.cancel();
      this.#fullTimer = undefined;
      return;
    }
    this.#fullTimer ??= this.#options.clock.after(
      FULL_MS,
      () => {
        this.#fullTimer = undefined;
        for (const consumer of this.#consumers) this.#withdraw(consumer);
      },
      { unref: true },
    );
  }

  #withdraw(consumer: Consumer): void {
    consumer.idle = false;
    consumer.claim?.withdraw.abort();
  }

  /** Charges each source for the slot time of its jobs since the last call. */
  #charge(): void {
    const now = this.#options.clock.now();
    for (const consumer of this.#consumers) consumer.usedMs += consumer.running * (now - this.#chargedAt);
    this.#chargedAt = now;
  }

  /** Adjusts the usage of a source that had no jobs here before it starts again. */
  #levelUsage(consumer: Consumer): void {
    const others = this.#consumers.filter((other) => other !== consumer && other.running > 0);
    if (consumer.running + consumer.waiting.length > 0 || others.length === 0) return;
    const least = Math.min(...others.map(({ usedMs }) => usedMs));
    consumer.usedMs = Math.min(Math.max(consumer.usedMs, least - CREDIT_MS), least + CREDIT_MS);
  }

  /**
   * Gives free slots to waiting leases: first those of the source with the fewest running jobs, then those of the one with the
   * least usage.
   */
  #startWaiting(): void {
    const { target } = this.#options.capacity;
    while (this.#running.size < target) {
      const next = this.#consumers
        .filter(({ waiting }) => waiting.length > 0)
        .sort((a, b) => a.running - b.running || a.usedMs - b.usedMs)
        .at(0);
      const lease = next?.waiting.shift();
      if (next === undefined || lease === undefined) return;
      next.running += 1;
      const run = this.#run(lease, next.source).finally(() => {
        this.#running.delete(run);
        this.#charge();
        this.#freedAt = [this.#chargedAt, this.#freedAt[0]];
        this.#fullTimer?.cancel();
        this.#fullTimer = undefined;
        next.running -= 1;
        this.#startWaiting();
        this.#fill();
      });
      this.#running.add(run);
    }
  }

  async #run(lease: Lease, source: Source): Promise<void> {
    const { clock, capacity, execute, onStart, onEnd } = this.#options;
    if (this.#stop.signal.aborted) return giveBack(lease);
    const startedAt = clock.now();
    onStart(lease, source);
    const outcome = await execute(lease, this.#stop.signal);
    capacity.count();
    onEnd(lease, outcome, clock.now() - startedAt, source);
    // Not awaited: the outbox and the source take over from here, and this slot is already free.
    void lease.settle(outcome);
  }
}

function giveBack(lease: Lease): Promise<void> {
  return lease.settle({ state: 'released', reason: 'the worker stops' });
}
