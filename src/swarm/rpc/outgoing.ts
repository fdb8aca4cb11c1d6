import { DATA_OVERHEAD_BYTES, type Kind } from './messages.js';
import type { Bulk, BulkEnding, Writer } from './writer.js';

/**
 * How far a source is read ahead of what the link takes: enough to fill frames and the link's own buffer without a pause. Chunks count
 * with DATA_OVERHEAD_BYTES each, so that there are never many.
 */
const READ_AHEAD_BYTES = 512 * 1024;
const SMALLEST_PIECE_BYTES = 4 * 1024;

export interface OutgoingOptions {
  readonly id: number;
  /** Of the messages that carry the bytes. */
  readonly kind: Kind;
  readonly creditBytes: number;
  readonly writer: Writer;
  /** What is told to the peer behind the last byte; undefined: nothing, because it is told otherwise. */
  readonly ending: (failure: { readonly error: unknown } | undefined) => BulkEnding | undefined;
  /** The ending is written. */
  readonly onEnded: () => void;
}

/** The bytes of one direction of a stream, on their way out: the source is read ahead a little, and no further until the link has taken it. */
export class Outgoing implements Bulk {
  readonly id: number;
  readonly kind: Kind;
  readonly #options: OutgoingOptions;
  readonly #chunks: Uint8Array[] = [];
  /** Of the first chunk. */
  #readBytes = 0;
  #aheadBytes = 0;
  #creditBytes: number;
  #ending: BulkEnding | undefined;
  #stopped = false;
  /** The ending is written. */
  #ended = false;
  #iterator: AsyncIterator<Uint8Array> | undefined;
  #goOn: (() => void) | undefined;

  constructor(options: OutgoingOptions) {
    this.id = options.id;
    this.kind = options.kind;
    this.#options = options;
    this.#creditBytes = options.creditBytes;
  }

  get readyBytes(): number {
    const allowed = this.#creditBytes - DATA_OVERHEAD_BYTES;
    if (this.#aheadBytes <= allowed) return this.#aheadBytes;
    // Rather wait for new credit than use up the last bytes of the old in tiny pieces.
    return allowed < SMALLEST_PIECE_BYTES ? 0 : allowed;
  }

  /** The writer asks for it when nothing is ready: it is not yet the end while only credit is lacking. */
  get ending(): BulkEnding | undefined {
    return this.#aheadBytes > 0 ? undefined : this.#ending;
  }

  /** Sends all of the source, then the ending. Never rejects. */
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
        while (this.#isFarAhead() && !this.#stopped) await this.#room();
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
    if (!this.#isFarAhead()) this.#goOn?.();
    return at;
  }

  onEnded(): void {
    this.#ended = true;
    this.#options.onEnded();
  }

  onCredit(bytes: number): void {
    this.#creditBytes += bytes;
    // Credit that crosses the ending must not bring a second one: the peer would take that for nonsense and end the link.
    if (!this.#stopped && !this.#ended) this.#options.writer.offer(this);
  }

  /** Sends nothing more, and closes the source. */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#options.writer.removeBulk(this);
    this.#chunks.length = 0;
    this.#aheadBytes = 0;
    this.#goOn?.();
    void this.#iterator?.return?.().catch(() => {});
  }

  #isFarAhead(): boolean {
    return this.#aheadBytes + this.#chunks.length * DATA_OVERHEAD_BYTES >= READ_AHEAD_BYTES;
  }

  #room(): Promise<void> {
    return new Promise((resolve) => {
      this.#goOn = resolve;
    });
  }
}
