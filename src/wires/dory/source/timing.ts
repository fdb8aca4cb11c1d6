/** Timings of the protocol; tests shorten them. */
export interface DoryTiming {
  // generated from doryTiming by `npm run generate`
  /**
   * Interval of heartbeats; the API considers a Worker gone after 30 s without one. Runs to join are discovered at the same interval. Default:
   * 10,000 ms.
   */
  readonly beatMs: number;
  /** Duration of a BullMQ job's lock. Default: 300,000 ms. */
  readonly lockMs: number;
  /** Interval at which the lock is extended. Default: 120,000 ms. */
  readonly extendMs: number;
  /** Interval of the check for jobs whose lock has expired. Default: 30,000 ms. */
  readonly stalledMs: number;
  /** Interval at which a coordinator checks for remaining helpers. Default: 5,000 ms. */
  readonly pollMs: number;
  /** Age of its last heartbeat at which a helper counts as gone. Default: 30,000 ms. */
  readonly staleMs: number;
  /**
   * A coordinator waits for its helpers for the run's timeout plus this. For a helper without signs of life it waits only this long. Default:
   * 60,000 ms.
   */
  readonly waitGraceMs: number;
  /** How long a coordinator waits for the helpers of a run without a timeout. Default: 900,000 ms. */
  readonly untimedWaitMs: number;
  // end
}
