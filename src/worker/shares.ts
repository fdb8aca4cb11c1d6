/** What one source has of the Worker's places at this moment. */
export interface Share {
  /** Jobs that run, or wait for a place here. */
  readonly held: number;
  /** The capacity of its open claim; undefined if none is open. */
  readonly claiming: number | undefined;
  /** Its last claim stayed open for a while without an answer. */
  readonly idle: boolean;
  /** Grows with each lease that any source gives: when this one last gave some. */
  readonly servedAt: number;
}

/**
 * How much each source may claim now, by its place in `shares`; 0 for none.
 *
 * What is free is divided among the sources that have work, those first that hold least, then those that were served longest ago; so each
 * gets the same share while all have enough to do, and one alone gets everything. A source that is known to be idle keeps a claim open on
 * places that others may take as well: nothing is kept free for it, and its next job is heard of at once. In the rare case that both
 * answer, the later job waits here for the next place that is free.
 */
export function claimable(target: number, shares: readonly Share[]): number[] {
  const free = target - shares.reduce((sum, { held }) => sum + held, 0);
  const reserved = shares.reduce((sum, { claiming = 0, idle }) => sum + (idle ? 0 : claiming), 0);
  const amounts = shares.map(() => 0);
  if (free <= 0) return amounts;
  const order = shares.map((share, at) => ({ ...share, at })).filter(({ claiming }) => claiming === undefined);
  order.sort((a, b) => a.held - b.held || a.servedAt - b.servedAt);
  let left = Math.max(0, free - reserved);
  let waiting = order.filter(({ idle }) => !idle).length;
  for (const { at, idle } of order) {
    if (idle) {
      amounts[at] = Math.ceil(free / shares.length);
      continue;
    }
    const amount = Math.ceil(left / waiting);
    amounts[at] = amount;
    left -= amount;
    waiting -= 1;
  }
  return amounts;
}
