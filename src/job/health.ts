/** What `peerwork health` tells, one line each. */
export interface Check {
  /** What was looked at, such as `redis` or `dory api`; short, for the first column. */
  readonly name: string;
  /** `warn`: it works, but not as well as it could, or it could not be found out. `fail`: jobs will not get done. */
  readonly state: 'ok' | 'warn' | 'fail';
  /** What was found, one line, without secrets. */
  readonly detail: string;
  /** What the owner can do about it, one sentence; with `warn` and `fail`. */
  readonly todo?: string;
}

/** What whoever checks may use. */
export interface CheckContext {
  /** Aborts when the time is up: whoever has no answer by then says so, it does not wait on. */
  readonly signal: AbortSignal;
  /** The Worker's home, absolute; it may not be there yet. */
  readonly home: string;
}
