import { PeerworkError } from '../../errors.js';
import { cancel } from './calls.js';
import { DATA_OVERHEAD_BYTES, Kind, STREAM_WINDOW_BYTES, uint32 } from './messages.js';
import { onAbort } from './on-abort.js';
import { malformed } from './reader.js';
import { formatCall, parseRefusal } from './text.js';
import type { Letter, Writer } from './writer.js';

/** Byte streams of the peer that we are reading. */
export class OpenStreams {
  readonly #writer: Writer;
  readonly #open = new Map<number, OpenStream>();

  constructor(writer: Writer) {
    this.#writer = writer;
  }

  has(id: number): boolean {
    return this.#open.has(id);
  }

  open(id: number, verb: string, args: unknown, signal: AbortSignal | undefined): OpenStream {
    const { text, bytes } = formatCall(verb, args);
    const letter = this.#writer.letter(Kind.open, id, text, bytes);
    const stream = new OpenStream(id, letter, this.#writer, signal, () => this.#open.delete(id));
    this.#open.set(id, stream);
    stream.start();
    return stream;
  }

  /** Throws `frame-malformed`. What belongs to no stream any more is ignored. */
  onData(id: number, bytes: Uint8Array, frameBytes: number): void {
    this.#open.get(id)?.onData(bytes, frameBytes);
  }

  onEnd(id: number): void {
    this.#open.get(id)?.onEnd(undefined);
  }

  onFail(id: number, text: string): void {
    this.#open.get(id)?.onEnd(parseRefusal(text));
  }

  end(reason: PeerworkError): void {
    for (const stream of [...this.#open.values()]) stream.onEnd(reason);
  }
}

interface Waiting {
  readonly resolve: (result: IteratorResult<Uint8Array, undefined>) => void;
  readonly reject: (error: Error) => void;
}

const finished: IteratorReturnResult<undefined> = { done: true, value: undefined };

/**
 * One stream that is being read. The peer may send as long as it has credit; whoever takes bytes out of the queue gives new credit, a
 * quarter of the window at a time. What arrived before a failure is delivered before it.
 */
export class OpenStream implements AsyncIterableIterator<Uint8Array> {
  readonly #id: number;
  readonly #letter: Letter;
  readonly #writer: Writer;
  readonly #signal: AbortSignal | undefined;
  readonly #onClosed: () => void;
  #forgetSignal: (() => void) | undefined;
  readonly #queue: Uint8Array[] = [];
  readonly #waiting: Waiting[] = [];
  #state: 'open' | 'ended' = 'open';
  #error: PeerworkError | undefined;
  #creditBytes = STREAM_WINDOW_BYTES;
  #takenBytes = 0;

  constructor(id: number, letter: Letter, writer: Writer, signal: AbortSignal | undefined, onClosed: () => void) {
    this.#id = id;
    this.#letter = letter;
    this.#writer = writer;
    this.#signal = signal;
    this.#onClosed = onClosed;
  }

  start(): void {
    const stop = () => this.#stop(new PeerworkError('rpc-cancelled'));
    if (this.#signal?.aborted) stop();
    else if (this.#signal !== undefined) this.#forgetSignal = onAbort(this.#signal, stop);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<Uint8Array, undefined>> {
    const bytes = this.#queue.shift();
    if (bytes !== undefined) {
      this.#taken(bytes);
      return Promise.resolve({ done: false, value: bytes });
    }
    if (this.#state === 'ended') {
      const error = this.#error;
      this.#error = undefined;
      return error === undefined ? Promise.resolve(finished) : Promise.reject(error);
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
    });
  }

  return(): Promise<IteratorResult<Uint8Array, undefined>> {
    this.#stop(undefined);
    return Promise.resolve(finished);
  }

  onData(bytes: Uint8Array, frameBytes: number): void {
    const cost = bytes.length + DATA_OVERHEAD_BYTES;
    if (cost > this.#creditBytes) throw malformed('more data than there was credit for');
    this.#creditBytes -= cost;
    // A little view must not keep a large frame in memory.
    const kept = bytes.length * 2 < frameBytes ? bytes.slice() : bytes;
    const waiting = this.#waiting.shift();
    if (waiting === undefined) {
      this.#queue.push(kept);
      return;
    }
    this.#taken(kept);
    waiting.resolve({ done: false, value: kept });
  }

  onEnd(error: PeerworkError | undefined): void {
    if (this.#state === 'ended') return;
    this.#state = 'ended';
    this.#forgetSignal?.();
    this.#onClosed();
    const [first, ...others] = this.#waiting.splice(0);
    if (error === undefined) first?.resolve(finished);
    else if (first !== undefined) first.reject(error);
    else this.#error = error;
    for (const waiting of others) waiting.resolve(finished);
  }

  /** From this side. */
  #stop(error: PeerworkError | undefined): void {
    this.#queue.length = 0;
    if (this.#state === 'ended') {
      this.#error = undefined;
      return;
    }
    cancel(this.#writer, this.#id, this.#letter);
    this.onEnd(error);
  }

  #taken(bytes: Uint8Array): void {
    this.#takenBytes += bytes.length + DATA_OVERHEAD_BYTES;
    if (this.#takenBytes < STREAM_WINDOW_BYTES / 4 || this.#state === 'ended') return;
    this.#creditBytes += this.#takenBytes;
    this.#writer.signal(Kind.credit, this.#id, uint32(this.#takenBytes));
    this.#takenBytes = 0;
  }
}
