/**
 * Where the content of files lies. Entries have keys, `<sha256>-<number>`, and appear whole; content on its way has the name of its upload and stays
 * until it is finished or discarded, also across restarts.
 */
export interface FileStore {
  /** Opens an upload to go on with, or a new one. Only one opener writes to it: another one takes it over. */
  upload(name: string): Promise<Upload>;
  /** The content from `offset` up to `end`, default to its end. Rejects with `file-lost`. */
  read(key: string, offset?: number, end?: number): AsyncIterable<Uint8Array>;
  /** How many bytes it can take; as an estimate. */
  freeBytes(): Promise<number>;
  remove(key: string): Promise<void>;
  /** The keys of entries that were stored before this instant of the wall clock. */
  keys(before: number): AsyncIterable<string>;
  /** Removes uploads that nobody has written to since `before`, an instant of the wall clock. */
  removeUploads(before: number): Promise<void>;
  close(): Promise<void>;
}

export interface Upload {
  /** Bytes so far. */
  readonly length: number;
  /** What is there so far. */
  read(): AsyncIterable<Uint8Array>;
  /** Rejects with `disk-full`, or with `upload-position` once another opener has taken over. */
  append(bytes: Uint8Array): Promise<void>;
  /** The content is complete: makes it the entry with this key. */
  finish(key: string): Promise<void>;
  /** Removes it. */
  discard(): Promise<void>;
  /** Stops writing; what is there stays. */
  leave(): Promise<void>;
}

export function keyOf({ sha256, seq }: { readonly sha256: string; readonly seq: number }): string {
  return `${sha256}-${seq}`;
}

/** The number in a key; undefined if it is no key. */
export function seqOf(key: string): number | undefined {
  const [, digits] = /^[0-9a-f]{64}-(\d{1,15})$/.exec(key) ?? [];
  return digits === undefined ? undefined : Number(digits);
}
