import { RecentRate } from '../kit/recent-rate.js';

/**
 * How many jobs to hold at once: as many as may run, plus as many as finish within PREFETCH_MS at the current rate. Long jobs are
 * therefore never hoarded (below 20 a second nothing is prefetched), while thousands of quick jobs hide the round trip. A job takes
 * some 30 ms between Master and Worker when both are busy, and the batch of one claim or settlement grows with the number in
 * transit.
 */
const PREFETCH_MS = 100;
const MAX_PREFETCH = 500;

/** One source's current use of the Worker's slots. */
export interface Share {
  /** Jobs that run, or wait for a slot here. */
  readonly held: number;
  /** Capacity of its open claim; 0 while it must not be claimed from, undefined if it may be. */
  readonly claiming: number | undefined;
  /** Whether its last claim has been open for a while, or had been when it returned jobs. */
  readonly idle: boolean;
  /** Total slot time of its jobs, in milliseconds. */
  readonly usedMs: number;
}

export interface Slots {
  readonly target: number;
  /** Slots become free often, so a job that waits here does not wait long. */
  readonly turningOver: boolean;
}

/**
 * Returns how many jobs each source may claim now, by its index in `shares`; 0 means none.
 *
 * Free slots go to the sources that have work, one at a time, each to the source that then holds the fewest or has used the least
 * time. All sources get the same share while all have enough work, and a single one gets everything. The share of a source with an
 * open claim waits until that claim returns. An idle source keeps a claim open on slots that others may take as well: nothing is
 * reserved for it, and its next job arrives at once.
 *
 * A source that is slow to hand out jobs would lose every slot to quicker ones. So while slots turn over, a source that has not
 * used more time than the others claims its share before a slot is free; its jobs wait here for the next one.
 */
export function claimable({ target, turningOver }: Slots, shares: readonly Share[]): number[] {
  const free = target - shares.reduce((sum, { held }) => sum + held, 0);
  const amounts = shares.map(() => 0);
  if (free <= 0 && !turningOver) return amounts;
  const all = shares.map((share, at) => ({ ...share, at, due: share.held + (share.idle ? 0 : (share.claiming ?? 0)) }));
  const busy = all.filter(({ idle, claiming }) => !idle && claiming !== 0);
  for (let left = busy.length === 0 ? 0 : target - all.reduce((sum, { due }) => sum + due, 0); left > 0; left -= 1)
    busy.reduce((a, b) => ((a.due - b.due || a.usedMs - b.usedMs) <= 0 ? a : b)).due += 1;
  const active = all.filter(({ held, idle }) => held > 0 || !idle);
  const meanMs = active.reduce((sum, { usedMs }) => sum + usedMs, 0) / active.length;
  for (const share of all) {
    const { at, held, idle, usedMs, due } = share;
    if (share.claiming !== undefined) continue;
    const fairShare = Math.ceil(target / (active.includes(share) ? active.length : active.length + 1));
    // A slow source: the jobs it holds now will be done by the time that more arrive.
    const ahead = turningOver && (active.length === 0 || usedMs <= meanMs) ? fairShare - (idle ? 0 : held) : 0;
    amounts[at] = Math.max(due - held, ahead, idle ? Math.ceil(free / shares.length) : 0);
  }
  return amounts;
}

/** How many jobs a Worker holds: its concurrency, plus a prefetch that follows its rate. */
export class Capacity {
  readonly #concurrency: number;
  readonly #now: () => number;
  readonly #ended: RecentRate;

  constructor(concurrency: number, now: () => number) {
    this.#concurrency = concurrency;
    this.#now = now;
    this.#ended = new RecentRate(now());
  }

  /** Records that a job has ended. */
  count(): void {
    this.#ended.add(1, this.#now());
  }

  /** How many jobs this worker wants to hold now. */
  get target(): number {
    // Excludes the job whose slot has just become free.
    const ahead = Math.floor(this.#ended.perMs(this.#now()) * PREFETCH_MS) - 1;
    return this.#concurrency + Math.max(0, Math.min(MAX_PREFETCH, ahead));
  }
}
