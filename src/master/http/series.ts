/** The last hour in `GET /v1/stats`. In a file of its own because the dashboard, which must not import Node code, draws it. */
export interface Series {
  readonly stepMs: number;
  /** Start of each step. */
  readonly at: readonly number[];
  readonly added: readonly number[];
  readonly completed: readonly number[];
  readonly failed: readonly number[];
  /** Milliseconds from ready (including a delay) to leased, and from leased to settled; null for steps without samples. */
  readonly waitP50Ms: readonly (number | null)[];
  readonly waitP95Ms: readonly (number | null)[];
  readonly runP50Ms: readonly (number | null)[];
  readonly runP95Ms: readonly (number | null)[];
}
