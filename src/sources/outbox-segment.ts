import { type FileHandle, open, readFile, rm } from 'node:fs/promises';
import { writeAll } from '../kit/whole-file.js';

/** What a segment needs of a file; tests give it one that fails. */
export type SegmentFile = Pick<FileHandle, 'write' | 'truncate' | 'close'>;

/** Where segments are kept: the file system, unless a test stands in for it. */
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

/** Before each record, so that it is found again behind bytes that are torn: eight that no length and no chance brings about. */
const MARK = Buffer.from([0x70, 0x77, 0x9e, 0x4f, 0x42, 0xc3, 0x52, 0x0a]);
const LENGTH_BYTES = 4;

/** `mark (8) · length (u32 BE) · sealed bytes` */
export function frame(sealed: Buffer): Buffer {
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeUInt32BE(sealed.length);
  return Buffer.concat([MARK, length, sealed]);
}

/**
 * Every record that `unseal` accepts, wherever it stands; `torn` says that there were bytes between them. Records of before the marks, which
 * begin with their length, are read as far as they are whole.
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
 * One file of the outbox. What `append` has resolved for stays readable whatever happens to a later one: bytes that a failed append has left are
 * cut off, and where even that fails they lie between records that are found by their marks.
 */
export class Segment {
  readonly path: string;
  /** Records in it that are not acknowledged. */
  live = 0;
  /** Where the last whole record ends. */
  #bytes = 0;
  /** An append or the cut behind it has failed: nothing more is written here. */
  #broken = false;
  readonly #file: SegmentFile | undefined;

  constructor(path: string, file?: SegmentFile) {
    this.path = path;
    this.#file = file;
  }

  /** Whether more may be written. */
  takes(maxBytes: number): boolean {
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

  /** Nothing in it is needed any more. A truncation that fails only costs space. */
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
