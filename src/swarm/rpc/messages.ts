/**
 * The content of a sealed frame: one or more messages, each a header of 8 bytes and a payload.
 * Header: kind (1), flags (1), id of the call or stream (4, big-endian), length of the payload (2, big-endian).
 * A text payload that does not fit into a frame is split: all parts but the last carry the flag MORE, and no other split message begins
 * in between.
 *
 * Ids are chosen by the side that opens a call or stream, so that each side has its own; the kind determines which side's id is meant.
 */
export const Kind = {
  /** Text: verb, line feed, JSON of the arguments. */
  call: 1,
  /** Text: JSON. */
  answer: 2,
  /** Text: error code, line feed, detail. */
  refusal: 3,
  /** Text like a call; the id is ignored. */
  note: 4,
  /** From the side that opened the call or stream: the result is no longer wanted. */
  cancel: 5,
  /** Text like a call: requests a byte stream. */
  open: 6,
  /** Bytes of a stream. */
  data: 7,
  /** A stream is complete. */
  end: 8,
  /** Text like a refusal: a stream ends incomplete. */
  fail: 9,
  /** 4 bytes, big-endian: how many more bytes of a stream may be sent. */
  credit: 10,
  ping: 11,
  pong: 12,
  /** Text: an error code or empty. The last message of a link. */
  goodbye: 13,
  /** Bytes of a stream, from the side that opened it. */
  upload: 14,
  /** The upload is complete. */
  uploadEnd: 15,
  /** As `credit`, for an upload. The first one signals that the other side reads uploads at all. */
  uploadCredit: 16,
} as const;
export type Kind = (typeof Kind)[keyof typeof Kind];

export const HEADER_BYTES = 8;
export const MORE = 1;
export const LAST_ID = 0xffff_ffff;

/** What a data message costs in credit in addition to its payload, so that a flood of tiny ones is bounded too. */
export const DATA_OVERHEAD_BYTES = 64;
/** Initial credit of a stream. 2 MiB sustain 55 MB/s over a round trip of 38 ms. */
export const STREAM_WINDOW_BYTES = 2 * 1024 * 1024;
/** How far the side that opened a stream may send ahead of the reader: less, because one Master has many Workers. */
export const UPLOAD_WINDOW_BYTES = 512 * 1024;

const splittable: ReadonlySet<number> = new Set([Kind.call, Kind.answer, Kind.refusal, Kind.note, Kind.open]);

export function isSplittable(kind: number): boolean {
  return splittable.has(kind);
}

export function writeHeader(target: Uint8Array, at: number, kind: Kind, flags: number, id: number, length: number): void {
  target[at] = kind;
  target[at + 1] = flags;
  target[at + 2] = id >>> 24;
  target[at + 3] = id >>> 16;
  target[at + 4] = id >>> 8;
  target[at + 5] = id;
  target[at + 6] = length >>> 8;
  target[at + 7] = length;
}

export function readUint32(bytes: Uint8Array, at: number): number {
  return (((bytes[at] ?? 0) << 24) | ((bytes[at + 1] ?? 0) << 16) | ((bytes[at + 2] ?? 0) << 8) | (bytes[at + 3] ?? 0)) >>> 0;
}

export function uint32(value: number): Uint8Array {
  return new Uint8Array([value >>> 24, value >>> 16, value >>> 8, value]);
}
