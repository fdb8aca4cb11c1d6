import { DATA_OVERHEAD_BYTES } from './messages.js';
import { malformed } from './reader.js';

export interface IncomingOptions {
  /** How much the peer may send ahead of the reader, in bytes. */
  readonly windowBytes: number;
  /** Whether the peer may send from the start; otherwise it is granted credit when somebody reads for the first time. */
  readonly begun: boolean;
  /** Grants the peer credit for further bytes. */
  readonly grant: (bytes: number) => void;
  /** Called when the reader wants no more. */
  readonly onStop: () => void;
}

interface Waiting {
  readonly resolve: (result: IteratorResult<Uint8Array, undefined>) => void;
  readonly reject: (error: Error) => void;
}

const finished: IteratorReturnResult<undefined> = { done: true, value: undefined };

/**
 * The bytes of one direction of a stream, as they arrive. The peer may send as long as it has credit; a reader that takes bytes out of
 * the queue grants new credit, a quarter of the window at a time. What arrived before a failure is delivered before it.
 */
export class Incoming implements AsyncIterableIterator<Uint8Array> {
  readonly #options: IncomingOptions;
  readonly #queue: Uint8Array[] = [];
  readonly #waiting: Waiting[] = [];
  #begun: boolean;
  #discarding = false;
  #ended = false;
  #error: Error | undefined;
  #creditBytes: number;
  #consumedBytes = 0;

  constructor(options: IncomingOptions) {
    this.#options = options;
    this.#begun = options.begun;
    this.#creditBytes = options.begun ? options.windowBytes : 0;
  }

  /** Whether the peer was granted its first credit. */
  get begun(): boolean {
    return this.#begun;
  }

  get ended(): boolean {
    return this.#ended;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<Uint8Array, undefined>> {
    this.#begin();
    const bytes = this.#queue.shift();
    if (bytes !== undefined) {
      this.#consumed(bytes);
      return Promise.resolve({ done: false, value: bytes });
    }
    if (this.#ended || this.#discarding) {
      const error = this.#error;
      this.#error = undefined;
      return error === undefined ? Promise.resolve(finished) : Promise.reject(error);
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
    });
  }

  return(): Promise<IteratorResult<Uint8Array, undefined>> {
    this.#options.onStop();
    this.discard();
    return Promise.resolve(finished);
  }

  /** Drops what is queued and what still arrives, with credit for it, so that the peer reaches its end. */
  discard(): void {
    this.#discarding = true;
    this.#error = undefined;
    for (const bytes of this.#queue.splice(0)) this.#consumed(bytes);
    for (const { resolve } of this.#waiting.splice(0)) resolve(finished);
  }

  /** Throws `frame-malformed`. */
  onData(bytes: Uint8Array, frameBytes: number): void {
    const cost = bytes.length + DATA_OVERHEAD_BYTES;
    if (cost > this.#creditBytes) throw malformed('more data than there was credit for');
    this.#creditBytes -= cost;
    if (this.#discarding) {
      this.#consumed(bytes);
      return;
    }
    if (this.#ended) throw malformed('data after its end');
    // A small view must not keep a large frame in memory.
    const kept = bytes.length * 2 < frameBytes ? bytes.slice() : bytes;
    const waiting = this.#waiting.shift();
    if (waiting === undefined) {
      this.#queue.push(kept);
      return;
    }
    this.#consumed(kept);
    waiting.resolve({ done: false, value: kept });
  }

  /** @param dropped drops what is still queued */
  onEnd(error: Error | undefined, dropped = false): void {
    if (dropped) this.#queue.length = 0;
    if (this.#ended) return;
    this.#ended = true;
    const [first, ...others] = this.#waiting.splice(0);
    if (error === undefined) first?.resolve(finished);
    else if (first !== undefined) first.reject(error);
    else if (!this.#discarding) this.#error = error;
    for (const waiting of others) waiting.resolve(finished);
  }

  #begin(): void {
    if (this.#begun || this.#ended || this.#discarding) return;
    this.#begun = true;
    this.#creditBytes = this.#options.windowBytes;
    this.#options.grant(this.#creditBytes);
  }

  #consumed(bytes: Uint8Array): void {
    this.#consumedBytes += bytes.length + DATA_OVERHEAD_BYTES;
    if (this.#consumedBytes < this.#options.windowBytes / 4 || this.#ended) return;
    this.#creditBytes += this.#consumedBytes;
    this.#options.grant(this.#consumedBytes);
    this.#consumedBytes = 0;
  }
}
