import { DEFAULT_TIMEOUT_MS, TIMEOUT_GRACE_MS } from '../job/limits.js';

/** The time limit of a run in SQL; 0 is none. */
export const LIMIT = `COALESCE(timeout_ms, ${DEFAULT_TIMEOUT_MS})`;

/**
 * `until`, a value that is passed twice, but not beyond the time limit of the run, whoever renews the lease. `begun` is the instant from which the
 * limit counts.
 */
export function leaseEnd(begun: string): string {
  const end = `${begun} + ${LIMIT} + ${TIMEOUT_GRACE_MS}`;
  return `CASE WHEN ${LIMIT} = 0 OR ${end} > CAST(? AS INTEGER) THEN CAST(? AS INTEGER) ELSE ${end} END`;
}

/** What is read of a lease that has ended. */
export interface LeaseTimes {
  readonly lease_until: number | null;
  readonly timeout_ms: number | null;
  readonly begun_at: number | null;
  readonly started_at: number | null;
}

/** The time limit, if the lease ended because the run was over it; else its worker fell silent. */
export function exceededLimit({ lease_until, timeout_ms, begun_at, started_at }: LeaseTimes): number | undefined {
  const limit = timeout_ms ?? DEFAULT_TIMEOUT_MS;
  const begun = begun_at ?? started_at ?? 0;
  return limit > 0 && (lease_until ?? 0) >= begun + limit + TIMEOUT_GRACE_MS ? limit : undefined;
}
