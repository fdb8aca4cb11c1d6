import type { Clock, Timer } from '../clock.js';
import type { Outcome } from '../job/job.js';
import type { Lease, Source } from '../job/source.js';
import type { Capacity } from './capacity.js';
import { claimable } from './shares.js';

export interface WorkLoopOptions {
  readonly capacity: Capacity;
  readonly clock: Clock;
  /** Prepares and runs one lease. Never rejects. `stop` is `stopped`. */
  readonly execute: (lease: Lease, stop: AbortSignal) => Promise<Outcome>;
  readonly onStart: (lease: Lease, source: Source) => void;
  /** A source broke the promise that a claim never rejects; it is asked again later. */
  readonly onFault: (source: Source, fault: unknown) => void;
  readonly onEnd: (lease: Lease, outcome: Outcome, runMs: number, source: Source) => void;
}

/** A source whose claim was not answered for so long counts as idle: its places may be taken by others. */
const HEAD_START_MS = 200;
/**
 * Claims of idle sources are withdrawn when no place has been free for so long: what they brought would have to wait here. While jobs are
 * quicker than this, one soon will be free. What such a source has then is not known any more, so that its next claim has a head start again:
 * at worst a tenth of the time of one place.
 */
const FULL_MS = 2_000;
/** A source that answers with nothing although nobody asked it to is asked again after this long. */
const EMPTY_MS = 1_000;

/** A source with what it has of the places. */
interface Taker {
  readonly source: Source;
  readonly waiting: Lease[];
  running: number;
  claim: { readonly capacity: number; readonly withdraw: AbortController; headStart?: Timer } | undefined;
  idle: boolean;
  servedAt: number;
}

/**
 * Claims from its sources and sees each lease through: claim → execute → settle. A source joins when it is ready, and has one claim open at a time; how
 * much it may claim, `claimable` says. A running job never waits for a claim and a claim never for a running job.
 *
 * Life: running until `drain` (claims no more, waits for what runs; what is still running after the grace is given back) or `close`
 * (gives everything back at once).
 */
export class WorkLoop {
  readonly #options: WorkLoopOptions;
  readonly #takers: Taker[] = [];
  readonly #claiming = new AbortController();
  readonly #stop = new AbortController();
  readonly #running = new Set<Promise<void>>();
  readonly #claims = new Set<Promise<void>>();
  #served = 0;
  #full: Timer | undefined;

  constructor(options: WorkLoopOptions) {
    this.#options = options;
  }

  /** Aborted when what runs must be given back. */
  get stopped(): AbortSignal {
    return this.#stop.signal;
  }

  /** Jobs that were claimed and have not ended. */
  get running(): number {
    return this.#takers.reduce((sum, { running, waiting }) => sum + running + waiting.length, 0);
  }

  /** From now on they are claimed from as well. */
  add(...sources: readonly Source[]): void {
    for (const source of sources) this.#takers.push({ source, waiting: [], running: 0, claim: undefined, idle: false, servedAt: 0 });
    // One that was alone until now may hold all places.
    for (const taker of this.#takers) this.#giveHeadStart(taker);
    this.#fill();
  }

  async drain(graceMs: number): Promise<void> {
    await this.#endClaims();
    const timer = this.#options.clock.after(graceMs, () => this.#stop.abort());
    await Promise.all(this.#running);
    timer.cancel();
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#endClaims();
    await Promise.all(this.#running);
  }

  async #endClaims(): Promise<void> {
    this.#claiming.abort();
    this.#full?.cancel();
    for (const taker of this.#takers) this.#withdraw(taker);
    await Promise.all(this.#claims);
    // What never got a place can start elsewhere sooner than here.
    await Promise.all(this.#takers.flatMap(({ waiting }) => waiting.splice(0).map(giveBack)));
  }

  /** Opens the claims that may be open now. */
  #fill(): void {
    if (this.#claiming.signal.aborted) return;
    const { target } = this.#options.capacity;
    const shares = this.#takers.map(({ running, waiting, claim, idle, servedAt }) => ({
      held: running + waiting.length,
      claiming: claim?.capacity,
      idle,
      servedAt,
    }));
    for (const [at, capacity] of claimable(target, shares).entries()) {
      const taker = this.#takers[at];
      if (taker === undefined || capacity === 0) continue;
      const claim = this.#claim(taker, capacity).finally(() => this.#claims.delete(claim));
      this.#claims.add(claim);
    }
    this.#watchFullness(target);
  }

  async #claim(taker: Taker, capacity: number): Promise<void> {
    const withdraw = new AbortController();
    taker.claim = { capacity, withdraw };
    this.#giveHeadStart(taker);
    const leases = await taker.source.claim(capacity, withdraw.signal).catch((fault: unknown) => {
      this.#options.onFault(taker.source, fault);
      return [];
    });
    taker.claim.headStart?.cancel();
    taker.claim = undefined;
    if (leases.length > 0) {
      taker.idle = false;
      taker.servedAt = ++this.#served;
      taker.waiting.push(...leases);
      this.#startWaiting();
    } else if (!withdraw.signal.aborted) {
      // Closed, or out of order: not asked again in the same breath.
      taker.claim = { capacity: 0, withdraw };
      this.#options.clock.after(EMPTY_MS, () => this.#reopen(taker));
    }
    this.#fill();
  }

  #reopen(taker: Taker): void {
    taker.claim = undefined;
    this.#fill();
  }

  /** Beside others, a claim without an answer does not keep its places for long. */
  #giveHeadStart(taker: Taker): void {
    if (taker.claim === undefined || taker.idle || this.#takers.length === 1) return;
    taker.claim.headStart ??= this.#options.clock.after(HEAD_START_MS, () => this.#countAsIdle(taker), { unref: true });
  }

  #countAsIdle(taker: Taker): void {
    taker.idle = true;
    this.#fill();
  }

  /** While all places stay taken, claims that stand on the same places would only bring jobs that wait here. */
  #watchFullness(target: number): void {
    const open = this.#takers.length > 1 && this.#takers.some(({ claim }) => claim !== undefined);
    if (!open || this.running < target) {
      this.#full?.cancel();
      this.#full = undefined;
      return;
    }
    this.#full ??= this.#options.clock.after(
      FULL_MS,
      () => {
        this.#full = undefined;
        for (const taker of this.#takers) this.#withdraw(taker);
      },
      { unref: true },
    );
  }

  #withdraw(taker: Taker): void {
    taker.idle = false;
    taker.claim?.withdraw.abort();
  }

  /** Gives free places to leases that wait, those first whose source has the fewest. */
  #startWaiting(): void {
    const { target } = this.#options.capacity;
    while (this.#running.size < target) {
      const next = this.#takers
        .filter(({ waiting }) => waiting.length > 0)
        .sort((a, b) => a.running - b.running)
        .at(0);
      const lease = next?.waiting.shift();
      if (next === undefined || lease === undefined) return;
      next.running += 1;
      const run = this.#seeThrough(lease, next.source).finally(() => {
        this.#running.delete(run);
        next.running -= 1;
        this.#startWaiting();
        this.#fill();
      });
      this.#running.add(run);
    }
  }

  async #seeThrough(lease: Lease, source: Source): Promise<void> {
    const { clock, capacity, execute, onStart, onEnd } = this.#options;
    if (this.#stop.signal.aborted) return giveBack(lease);
    const startedAt = clock.now();
    onStart(lease, source);
    const outcome = await execute(lease, this.#stop.signal);
    capacity.count();
    onEnd(lease, outcome, clock.now() - startedAt, source);
    // Not awaited: the outbox and the source carry it from here, and this slot is free already.
    void lease.settle(outcome);
  }
}

function giveBack(lease: Lease): Promise<void> {
  return lease.settle({ state: 'released', reason: 'the worker stops' });
}
