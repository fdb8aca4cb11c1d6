const CHUNK_BYTES = 64 * 1024;
const LENGTH_BYTES = 4;

/** A FIFO queue of texts outside of the JavaScript heap: a queue of a hundred thousand is no work for the garbage collector. */
export class TextSpool {
  readonly #chunks: { readonly bytes: Buffer; end: number }[] = [];
  /** Position in the first chunk. */
  #readAt = 0;
  #length = 0;

  /** Number of texts. */
  get length(): number {
    return this.#length;
  }

  push(text: string): void {
    const size = Buffer.byteLength(text);
    let tail = this.#chunks.at(-1);
    if (tail === undefined || tail.bytes.length - tail.end < LENGTH_BYTES + size) {
      tail = { bytes: Buffer.allocUnsafeSlow(Math.max(CHUNK_BYTES, LENGTH_BYTES + size)), end: 0 };
      this.#chunks.push(tail);
    }
    tail.bytes.writeUInt32LE(size, tail.end);
    tail.bytes.write(text, tail.end + LENGTH_BYTES);
    tail.end += LENGTH_BYTES + size;
    this.#length += 1;
  }

  shift(): string | undefined {
    const head = this.#chunks[0];
    if (head === undefined) return undefined;
    const from = this.#readAt + LENGTH_BYTES;
    const to = from + head.bytes.readUInt32LE(this.#readAt);
    const text = head.bytes.toString('utf8', from, to);
    this.#readAt = to;
    this.#length -= 1;
    if (to === head.end) {
      this.#chunks.shift();
      this.#readAt = 0;
    }
    return text;
  }
}
