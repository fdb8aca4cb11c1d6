/** Declaration of one error code. */
export interface ErrorEntry {
  /** What happened: one sentence without a full stop. `{detail}` is replaced by the specifics. */
  readonly message: string;
  /** What the reader can do about it: one sentence. */
  readonly hint: string;
  /** HTTP status of the response. */
  readonly status: number;
  /** Exit code of a command that ends with this error. Default 2, a refusal; 3 means not set up or not logged in. */
  readonly exitCode?: 1 | 3;
}
