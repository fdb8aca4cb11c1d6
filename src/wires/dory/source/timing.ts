/** The times of the protocol, in milliseconds; tests shorten them. */
export interface DoryTiming {
  /** Between heartbeats; the API takes a Worker for gone after 30 s without one. Joining happens in the same beat. */
  readonly beatMs: number;
  /** How long the lock of a BullMQ job lasts … */
  readonly lockMs: number;
  /** … and how often it is extended. */
  readonly extendMs: number;
  /** How often jobs whose lock ran out are looked for. */
  readonly stalledMs: number;
  /** Between looks at who still helps with a run. */
  readonly pollMs: number;
  /** A helper whose last heartbeat is older does not help any more. */
  readonly staleMs: number;
  /**
   * The coordinator waits for its helpers for the run's timeout and this on top; without a timeout for `untimedWaitMs`. For a helper that cannot be
   * heard of, for this alone.
   */
  readonly waitGraceMs: number;
  readonly untimedWaitMs: number;
}

export const defaultTiming: DoryTiming = {
  beatMs: 10_000,
  lockMs: 300_000,
  extendMs: 120_000,
  stalledMs: 30_000,
  pollMs: 5_000,
  staleMs: 30_000,
  waitGraceMs: 60_000,
  untimedWaitMs: 900_000,
};
