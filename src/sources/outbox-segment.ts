import { type FileHandle, open, readFile, rm } from 'node:fs/promises';
import { writeAll } from '../kit/whole-file.js';

/** The file operations of a segment; tests pass a file that fails. */
export type SegmentFile = Pick<FileHandle, 'write' | 'truncate' | 'close'>;

/** The storage of segments: the file system, except in tests. */
export interface SegmentFiles {
  open(path: string): Promise<SegmentFile>;
  read(path: string): Promise<Buffer>;
  remove(path: string): Promise<void>;
}

export const segmentFiles: SegmentFiles = {
  open: (path) => open(path, 'a', 0o600),
  read: (path) => readFile(path),
  remove: (path) => rm(path, { force: true }),
};

/** Precedes each record, so that records can be found after torn bytes: eight bytes that neither a length nor chance produces. */
const MARK = Buffer.from([0x70, 0x77, 0x9e, 0x4f, 0x42, 0xc3, 0x52, 0x0a]);
const LENGTH_BYTES = 4;

/** Frames a sealed record: `mark (8) · length (u32 BE) · sealed bytes` */
export function frame(sealed: Buffer): Buffer {
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeUInt32BE(sealed.length);
  return Buffer.concat([MARK, length, sealed]);
}

/**
 * Returns every record that `unseal` accepts, at any offset; `torn` means that there were other bytes between them. Records from before
 * marks were introduced start with their length and are read up to the first damaged one.
 */
export function readRecords<T>(bytes: Buffer, unseal: (sealed: Buffer) => T | undefined): { records: T[]; torn: boolean } {
  const records: T[] = [];
  let torn = false;
  for (let at = 0; at < bytes.length; ) {
    const marked = bytes.subarray(at, at + MARK.length).equals(MARK);
    const from = at + (marked ? MARK.length : 0) + LENGTH_BYTES;
    const end = from <= bytes.length ? from + bytes.readUInt32BE(from - LENGTH_BYTES) : Number.POSITIVE_INFINITY;
    const record = end <= bytes.length ? unseal(bytes.subarray(from, end)) : undefined;
    if (record !== undefined) {
      records.push(record);
      at = end;
      continue;
    }
    torn = true;
    const next = bytes.indexOf(MARK, at + 1);
    if (next === -1) break;
    at = next;
  }
  return { records, torn };
}

/**
 * One file of the outbox. A record whose `append` has resolved stays readable whatever happens to later ones. The bytes of a failed append
 * are truncated; if that fails too, the marks of later records let them be found.
 */
export class Segment {
  readonly path: string;
  /** Number of unacknowledged records in it. */
  live = 0;
  /** Offset at which the last complete record ends. */
  #bytes = 0;
  /** Whether an append and the truncation after it failed: nothing more is written to this segment. */
  #broken = false;
  readonly #file: SegmentFile | undefined;

  constructor(path: string, file?: SegmentFile) {
    this.path = path;
    this.#file = file;
  }

  /** Returns whether more records may be appended. */
  accepts(maxBytes: number): boolean {
    return this.#file !== undefined && !this.#broken && this.#bytes < maxBytes;
  }

  async append(bytes: Buffer): Promise<void> {
    if (this.#file === undefined) throw new Error('this segment is only read');
    try {
      await writeAll(this.#file, bytes);
      this.#bytes += bytes.length;
    } catch (error) {
      await this.#file.truncate(this.#bytes).catch(() => {
        this.#broken = true;
      });
      throw error;
    }
  }

  /** Truncates the segment if none of its records is needed. A failed truncation only costs space. */
  async empty(): Promise<void> {
    if (this.live > 0 || this.#file === undefined) return;
    await this.#file.truncate(0).then(
      () => {
        this.#bytes = 0;
      },
      () => {},
    );
  }

  async close(): Promise<void> {
    await this.#file?.close().catch(() => {});
  }
}
