import { PeerworkError } from '../../errors.js';
import type { Log } from '../../log.js';
import type { RpcHandlers } from '../peer.js';
import { DATA_OVERHEAD_BYTES, Kind, STREAM_WINDOW_BYTES } from './messages.js';
import { malformed } from './reader.js';
import { own } from './served-calls.js';
import { formatRefusal, parseCall } from './text.js';
import type { Bulk, Writer } from './writer.js';

export const MAX_SERVED_STREAMS = 64;
/**
 * How far a stream is read ahead of what the link takes: enough to fill frames and the link's own buffer without a pause. Chunks count
 * with DATA_OVERHEAD_BYTES each, so that there are never many.
 */
const READ_AHEAD_BYTES = 512 * 1024;
const SMALLEST_PIECE_BYTES = 4 * 1024;

/** Byte streams that the peer reads from us. */
export class ServedStreams {
  readonly #writer: Writer;
  readonly #handlers: RpcHandlers;
  readonly #log: Log;
  readonly #running = new Map<number, ServedStream>();

  constructor(writer: Writer, handlers: RpcHandlers, log: Log) {
    this.#writer = writer;
    this.#handlers = handlers;
    this.#log = log;
  }

  /** Throws `frame-malformed`. */
  onOpen(id: number, text: string): void {
    if (this.#running.has(id)) throw malformed('an id in use');
    const { verb, args } = parseCall(text);
    const handler = own(this.#handlers.streams, verb);
    if (handler === undefined) {
      this.#refuse(id, new PeerworkError('rpc-unknown-verb', verb));
      return;
    }
    if (this.#running.size >= MAX_SERVED_STREAMS) {
      this.#refuse(id, new PeerworkError('rpc-overloaded'));
      return;
    }
    const stream = new ServedStream(id, this.#writer, () => this.#running.delete(id));
    this.#running.set(id, stream);
    const failed = (error: unknown) => {
      if (!(error instanceof PeerworkError)) this.#log.error('a stream could not be served', { verb, error });
    };
    void stream.run((signal) => handler(args, signal), failed);
  }

  onCredit(id: number, bytes: number): void {
    this.#running.get(id)?.onCredit(bytes);
  }

  onCancel(id: number): void {
    this.#running.get(id)?.stop(new PeerworkError('rpc-cancelled'));
  }

  end(reason: PeerworkError): void {
    for (const stream of [...this.#running.values()]) stream.stop(reason);
  }

  #refuse(id: number, error: PeerworkError): void {
    this.#writer.letter(Kind.fail, id, formatRefusal(error));
  }
}

/** One stream that is being sent: reads ahead a little, and no further until the link has taken it. */
class ServedStream implements Bulk {
  readonly id: number;
  readonly #writer: Writer;
  readonly #onClosed: () => void;
  readonly #controller = new AbortController();
  readonly #chunks: Uint8Array[] = [];
  /** Of the first chunk. */
  #readBytes = 0;
  #aheadBytes = 0;
  #creditBytes = STREAM_WINDOW_BYTES;
  #ending: { readonly kind: Kind; readonly text: string } | undefined;
  #goOn: (() => void) | undefined;

  constructor(id: number, writer: Writer, onClosed: () => void) {
    this.id = id;
    this.#writer = writer;
    this.#onClosed = onClosed;
  }

  get readyBytes(): number {
    const allowed = this.#creditBytes - DATA_OVERHEAD_BYTES;
    if (this.#aheadBytes <= allowed) return this.#aheadBytes;
    // Rather wait for new credit than use up the last bytes of the old in tiny pieces.
    return allowed < SMALLEST_PIECE_BYTES ? 0 : allowed;
  }

  /** The writer asks for it when nothing is ready: it is not yet the end while only credit is lacking. */
  get ending(): { readonly kind: Kind; readonly text: string } | undefined {
    return this.#aheadBytes > 0 ? undefined : this.#ending;
  }

  async run(open: (signal: AbortSignal) => AsyncIterable<Uint8Array>, failed: (error: unknown) => void): Promise<void> {
    const { signal } = this.#controller;
    this.#writer.addBulk(this);
    try {
      for await (const chunk of open(signal)) {
        if (signal.aborted) break;
        if (chunk.length === 0) continue;
        this.#chunks.push(chunk);
        this.#aheadBytes += chunk.length;
        this.#writer.wake();
        while (this.#isFarAhead() && !signal.aborted) await this.#room();
      }
      this.#ending = { kind: Kind.end, text: '' };
    } catch (error) {
      if (!signal.aborted) failed(error);
      this.#ending = { kind: Kind.fail, text: formatRefusal(error) };
    }
    this.#writer.wake();
  }

  onEnded(): void {
    this.#onClosed();
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

  onCredit(bytes: number): void {
    this.#creditBytes += bytes;
    this.#writer.wake();
  }

  stop(reason: PeerworkError): void {
    this.#writer.removeBulk(this);
    this.#onClosed();
    this.#chunks.length = 0;
    this.#aheadBytes = 0;
    this.#controller.abort(reason);
    this.#goOn?.();
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
