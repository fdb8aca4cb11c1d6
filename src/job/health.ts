/** One line of the result of `peerwork health`. */
export interface Check {
  /** The subject, such as `redis` or `dory api`; short, for the first column. */
  readonly name: string;
  /** `warn`: it works, but not as well as it could, or the check was inconclusive. `fail`: jobs will not get done. */
  readonly state: 'ok' | 'warn' | 'fail';
  /** The finding in one line, without secrets. */
  readonly detail: string;
  /** The hint, in one sentence; set with `warn` and `fail`. */
  readonly hint?: string;
}

/** Context of a health check. */
export interface CheckContext {
  /** Aborts when the time is up: a check that has no result by then reports that instead of waiting any longer. */
  readonly signal: AbortSignal;
  /** The Worker's home, absolute; it may not exist yet. */
  readonly home: string;
}
