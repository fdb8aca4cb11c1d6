/** Protocol timings in ms; tests shorten them. */
export interface DoryTiming {
  /** Interval of heartbeats; the API considers a Worker gone after 30 s without one. Runs to join are discovered at the same interval. */
  readonly beatMs: number;
  /** Duration of a BullMQ job's lock. */
  readonly lockMs: number;
  /** Interval at which the lock is extended. */
  readonly extendMs: number;
  /** Interval of the check for jobs whose lock has expired. */
  readonly stalledMs: number;
  /** Interval at which a coordinator checks for remaining helpers. */
  readonly pollMs: number;
  /** Age of its last heartbeat at which a helper counts as gone. */
  readonly staleMs: number;
  /**
   * A coordinator waits for its helpers for the run's timeout plus this, or for `untimedWaitMs` if the run has none. For a helper without
   * signs of life it waits only this long.
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
