/** A stream brought more than it may. */
export class TooManyBytes extends Error {
  override readonly name = 'TooManyBytes';
}

/**
 * All bytes of a body that somebody else sends, counted while they come: it may have no end. Rejects with `TooManyBytes`, or as the stream does.
 * Null is the body of an answer that has none.
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

/** Bytes that many may hold together. What is small passes always: a budget that is used up must not stop what keeps a system alive. */
export class ByteBudget {
  readonly #most: number;
  readonly #small: number;
  #taken = 0;

  /** @param small up to this nothing is refused */
  constructor(most: number, small = 64 * 1024) {
    this.#most = most;
    this.#small = small;
  }

  /** False: there is no room for so many. What was taken must be given back once. */
  take(bytes: number): boolean {
    if (bytes > this.#small && this.#taken + bytes > this.#most) return false;
    this.#taken += bytes;
    return true;
  }

  giveBack(bytes: number): void {
    this.#taken -= bytes;
  }
}
