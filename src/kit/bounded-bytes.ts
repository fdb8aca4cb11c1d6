/** A stream exceeded its byte limit. */
export class TooManyBytes extends Error {
  override readonly name = 'TooManyBytes';
}

/**
 * Reads the whole body of a foreign stream and counts bytes as they arrive, since it may never end. Rejects with `TooManyBytes`, or
 * with the error of the stream. Null stands for a response without a body.
 */
export async function boundedBytes(body: AsyncIterable<Uint8Array> | null, maxBytes: number): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of body ?? []) {
    bytes += chunk.length;
    if (bytes > maxBytes) throw new TooManyBytes(`more than ${maxBytes} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/**
 * A byte budget shared by many holders. Small amounts are always granted: an exhausted budget must not block what keeps the system
 * alive.
 */
export class ByteBudget {
  readonly #maxBytes: number;
  readonly #smallBytes: number;
  #usedBytes = 0;

  /** @param small amounts up to this many bytes are never refused */
  constructor(maxBytes: number, small = 64 * 1024) {
    this.#maxBytes = maxBytes;
    this.#smallBytes = small;
  }

  /** Returns false if the budget has no room for this many bytes. Bytes that were granted must be given back exactly once. */
  take(bytes: number): boolean {
    if (bytes > this.#smallBytes && this.#usedBytes + bytes > this.#maxBytes) return false;
    this.#usedBytes += bytes;
    return true;
  }

  /** Returns bytes to the budget. */
  giveBack(bytes: number): void {
    this.#usedBytes -= bytes;
  }
}
