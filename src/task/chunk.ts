/**
 * Content-defined chunks: where a large file is cut depends on the bytes around the cut instead of their position, so that an inserted byte
 * changes one or two chunks and all others stay the same (FastCDC with a 32-bit gear hash).
 *
 * The cuts are not part of any contract between Master and Worker (the manifest lists the chunks), but changing a constant invalidates
 * every chunk on every disk once. A test pins them.
 */
export const CHUNKED_ABOVE_BYTES = 1024 * 1024;
export const MIN_CHUNK_BYTES = 64 * 1024;
export const MAX_CHUNK_BYTES = 512 * 1024;
/** From this length on a cut is 32 times as likely: sizes cluster around 256 KiB, and hardly any chunk is cut at the maximum. */
const NORMAL_CHUNK_BYTES = 224 * 1024;
const STRICT_SHIFT = 32 - 20;
const EASY_SHIFT = 32 - 15;

/** One pseudo-random 32-bit number per byte value, from a fixed seed (xorshift32). */
const gear = new Int32Array(256);
for (let i = 0, state = 0x9e3779b9; i < 256; i++) {
  for (let round = 0; round < 4; round++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
  }
  gear[i] = state;
}

/**
 * Returns the length of the chunk of `bytes` that begins at `start`. `bytes` must extend `MAX_CHUNK_BYTES` beyond it, or to the end of the
 * file.
 */
export function chunkLength(bytes: Uint8Array, start: number): number {
  const available = bytes.length - start;
  if (available <= MIN_CHUNK_BYTES) return available;
  const end = start + Math.min(available, MAX_CHUNK_BYTES);
  const normal = Math.min(end, start + NORMAL_CHUNK_BYTES);
  let hash = 0;
  let at = start + MIN_CHUNK_BYTES;
  for (; at < normal; at++) {
    hash = ((hash << 1) + (gear[bytes[at] as number] as number)) | 0;
    if (hash >>> STRICT_SHIFT === 0) return at + 1 - start;
  }
  for (; at < end; at++) {
    hash = ((hash << 1) + (gear[bytes[at] as number] as number)) | 0;
    if (hash >>> EASY_SHIFT === 0) return at + 1 - start;
  }
  return end - start;
}

/** Splits a stream into chunks. The memory of a chunk is never modified later. */
export async function* chunks(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let held: Uint8Array = new Uint8Array(0);
  for await (const piece of source) {
    held = held.length === 0 ? piece.slice() : Buffer.concat([held, piece]);
    let start = 0;
    while (held.length - start >= MAX_CHUNK_BYTES) {
      const length = chunkLength(held, start);
      yield held.subarray(start, start + length);
      start += length;
    }
    held = held.subarray(start);
  }
  for (let start = 0; start < held.length; ) {
    const length = chunkLength(held, start);
    yield held.subarray(start, start + length);
    start += length;
  }
}
