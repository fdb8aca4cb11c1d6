/** What `GET /v1/stats` has of the last hour; the dashboard, which knows nothing of Node, draws it. */
export interface Series {
  readonly stepMs: number;
  /** Starts of the steps. */
  readonly at: readonly number[];
  readonly added: readonly number[];
  readonly completed: readonly number[];
  readonly failed: readonly number[];
  /** From ready (a delay counts) to leased, and from leased to settled; null where nothing was. In milliseconds. */
  readonly waitP50Ms: readonly (number | null)[];
  readonly waitP95Ms: readonly (number | null)[];
  readonly runP50Ms: readonly (number | null)[];
  readonly runP95Ms: readonly (number | null)[];
}
