import { DATA_OVERHEAD_BYTES, type Kind } from './messages.js';
import type { Bulk, BulkEnding, Writer } from './writer.js';

/**
 * How far a source is read ahead of the link: enough to fill frames and the link's own buffer without a pause. Each chunk counts
 * DATA_OVERHEAD_BYTES in addition, which bounds their number.
 */
const READ_AHEAD_BYTES = 512 * 1024;
const SMALLEST_PIECE_BYTES = 4 * 1024;

export interface OutgoingOptions {
  readonly id: number;
  /** Kind of the messages that carry the bytes. */
  readonly kind: Kind;
  readonly creditBytes: number;
  readonly writer: Writer;
  /** Returns the message to send after the last byte; undefined if the peer is notified in another way. */
  readonly ending: (failure: { readonly error: unknown } | undefined) => BulkEnding | undefined;
  /** Called when the ending is written. */
  readonly onEnded: () => void;
}

/** The outgoing bytes of one direction of a stream: the source is read ahead a little, and no further until the link has taken that. */
export class Outgoing implements Bulk {
  readonly id: number;
  readonly kind: Kind;
  readonly #options: OutgoingOptions;
  readonly #chunks: Uint8Array[] = [];
  /** Bytes of the first chunk that were read. */
  #readBytes = 0;
  #aheadBytes = 0;
  #creditBytes: number;
  #ending: BulkEnding | undefined;
  #stopped = false;
  /** The ending is written. */
  #ended = false;
  #iterator: AsyncIterator<Uint8Array> | undefined;
  #resume: (() => void) | undefined;

  constructor(options: OutgoingOptions) {
    this.id = options.id;
    this.kind = options.kind;
    this.#options = options;
    this.#creditBytes = options.creditBytes;
  }

  get readyBytes(): number {
    const allowed = this.#creditBytes - DATA_OVERHEAD_BYTES;
    if (this.#aheadBytes <= allowed) return this.#aheadBytes;
    // Wait for new credit rather than spend the rest of the old one on tiny pieces.
    return allowed < SMALLEST_PIECE_BYTES ? 0 : allowed;
  }

  /** Read by the writer when nothing is ready: while only credit is lacking, it is not the end yet. */
  get ending(): BulkEnding | undefined {
    return this.#aheadBytes > 0 ? undefined : this.#ending;
  }

  /** Sends the whole source, then the ending. Never rejects. */
  async run(open: () => AsyncIterable<Uint8Array>): Promise<void> {
    const { writer, ending } = this.#options;
    try {
      const iterator = open()[Symbol.asyncIterator]();
      this.#iterator = iterator;
      while (!this.#stopped) {
        const { done, value } = await iterator.next();
        if (done || this.#stopped) break;
        if (value.length === 0) continue;
        this.#chunks.push(value);
        this.#aheadBytes += value.length;
        writer.offer(this);
        while (this.#isFarAhead() && !this.#stopped) await this.#whenRoom();
      }
      if (!this.#stopped) this.#ending = ending(undefined);
    } catch (error) {
      if (!this.#stopped) this.#ending = ending({ error });
    }
    if (this.#ending !== undefined) writer.offer(this);
  }

  read(target: Uint8Array): number {
    const length = Math.min(this.readyBytes, target.length);
    let at = 0;
    while (at < length) {
      const chunk = this.#chunks[0];
      if (chunk === undefined) break;
      const part = chunk.subarray(this.#readBytes, this.#readBytes + length - at);
      target.set(part, at);
      at += part.length;
      this.#readBytes += part.length;
      if (this.#readBytes < chunk.length) break;
      this.#chunks.shift();
      this.#readBytes = 0;
    }
    this.#aheadBytes -= at;
    this.#creditBytes -= at + DATA_OVERHEAD_BYTES;
    if (!this.#isFarAhead()) this.#resume?.();
    return at;
  }

  onEnded(): void {
    this.#ended = true;
    this.#options.onEnded();
  }

  onCredit(bytes: number): void {
    this.#creditBytes += bytes;
    // Credit that crosses the ending must not cause a second ending, which the peer would treat as a protocol violation that ends the
    // link.
    if (!this.#stopped && !this.#ended) this.#options.writer.offer(this);
  }

  /** Sends nothing more, and closes the source. */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#options.writer.removeBulk(this);
    this.#chunks.length = 0;
    this.#aheadBytes = 0;
    this.#resume?.();
    void this.#iterator?.return?.().catch(() => {});
  }

  #isFarAhead(): boolean {
    return this.#aheadBytes + this.#chunks.length * DATA_OVERHEAD_BYTES >= READ_AHEAD_BYTES;
  }

  #whenRoom(): Promise<void> {
    return new Promise((resolve) => {
      this.#resume = resolve;
    });
  }
}
