/** What the table says of a code. */
export interface ErrorEntry {
  /** What happened, one sentence without a full stop; `{detail}` is replaced by the particulars. */
  readonly message: string;
  /** What the reader can do about it, one sentence. */
  readonly todo: string;
  /** The HTTP status that a server answers with. */
  readonly status: number;
}
