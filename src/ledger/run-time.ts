import { DEFAULT_TIMEOUT_MS, TIMEOUT_GRACE_MS } from '../job/limits.js';

/** SQL for the time limit of a run in ms; 0 means none. */
export const LIMIT = `COALESCE(timeout_ms, ${DEFAULT_TIMEOUT_MS})`;

/**
 * SQL for the end of a renewed lease: `until`, a value that is bound twice, capped at the run's time limit no matter who renews. `begun` is
 * the instant from which the limit counts.
 */
export function leaseEnd(begun: string): string {
  const end = `${begun} + ${LIMIT} + ${TIMEOUT_GRACE_MS}`;
  return `CASE WHEN ${LIMIT} = 0 OR ${end} > CAST(? AS INTEGER) THEN CAST(? AS INTEGER) ELSE ${end} END`;
}

/** Columns of a lease that has expired. */
export interface LeaseTimes {
  readonly lease_until: number | null;
  readonly timeout_ms: number | null;
  readonly begun_at: number | null;
  readonly started_at: number | null;
}

/** Returns the time limit in ms if the lease ended because the run exceeded it; undefined if its worker went silent. */
export function exceededLimit({ lease_until, timeout_ms, begun_at, started_at }: LeaseTimes): number | undefined {
  const limit = timeout_ms ?? DEFAULT_TIMEOUT_MS;
  const begun = begun_at ?? started_at ?? 0;
  return limit > 0 && (lease_until ?? 0) >= begun + limit + TIMEOUT_GRACE_MS ? limit : undefined;
}
