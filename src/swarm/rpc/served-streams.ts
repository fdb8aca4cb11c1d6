import { PeerworkError } from '../../errors.js';
import type { Log } from '../../log.js';
import type { RpcHandlers } from '../peer.js';
import { Incoming } from './incoming.js';
import { Kind, STREAM_WINDOW_BYTES, UPLOAD_WINDOW_BYTES, uint32 } from './messages.js';
import { Outgoing } from './outgoing.js';
import { malformed } from './reader.js';
import { own } from './served-calls.js';
import { formatRefusal, parseCall } from './text.js';
import type { Writer } from './writer.js';

export const MAX_SERVED_STREAMS = 128;

type Serve = (signal: AbortSignal, upload: AsyncIterable<Uint8Array>) => AsyncIterable<Uint8Array>;

/** Byte streams that the peer reads from us, and on which it may send to us. */
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
    const failed = (error: unknown) => {
      if (!(error instanceof PeerworkError))
        this.#log.error('a stream could not be served', {
          verb,
          error,
          hint: 'No action needed if the disk or the ledger was unavailable; the peer retries. Otherwise report it with the log at LOG_LEVEL=debug.',
        });
    };
    const stream = new ServedStream(id, this.#writer, failed, () => this.#running.delete(id));
    this.#running.set(id, stream);
    stream.run((signal, upload) => handler(args, signal, upload));
  }

  onCredit(id: number, bytes: number): void {
    this.#running.get(id)?.onCredit(bytes);
  }

  /** Throws `frame-malformed`. */
  onUpload(id: number, bytes: Uint8Array, frameBytes: number): void {
    this.#running.get(id)?.onUpload(bytes, frameBytes);
  }

  /** Throws `frame-malformed`. */
  onUploadEnd(id: number): void {
    this.#running.get(id)?.onUploadEnd();
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

/**
 * One served stream: the bytes of the handler are sent, and the handler may read the peer's upload, for which the peer gets credit only
 * once the handler begins to read. The stream is over when both directions have ended, when the handler fails, or when it is stopped.
 */
class ServedStream {
  readonly #id: number;
  readonly #writer: Writer;
  readonly #controller = new AbortController();
  readonly #outgoing: Outgoing;
  readonly #upload: Incoming;
  readonly #onClosed: () => void;
  #failed = false;
  #sent = false;

  /** The handler stopped reading before the peer's end. */
  #unread = false;

  constructor(id: number, writer: Writer, failed: (error: unknown) => void, onClosed: () => void) {
    this.#id = id;
    this.#writer = writer;
    this.#onClosed = onClosed;
    this.#upload = new Incoming({
      windowBytes: UPLOAD_WINDOW_BYTES,
      begun: false,
      grant: (bytes) => writer.signal(Kind.uploadCredit, id, uint32(bytes)),
      onStop: () => {
        this.#unread = !this.#upload.ended;
        this.#failIfUnread();
      },
    });
    this.#outgoing = new Outgoing({
      id,
      kind: Kind.data,
      creditBytes: STREAM_WINDOW_BYTES,
      writer,
      ending: (failure) => {
        if (failure === undefined) return { kind: Kind.end, text: '' };
        failed(failure.error);
        // What the peer sends until it learns of the failure is ignored.
        this.#failed = true;
        this.#upload.onEnd(new PeerworkError('rpc-cancelled'));
        return { kind: Kind.fail, text: formatRefusal(failure.error) };
      },
      onEnded: () => {
        this.#sent = true;
        if (!this.#upload.begun) this.#upload.onEnd(undefined);
        this.#closeIfOver();
        this.#failIfUnread();
      },
    });
  }

  run(serve: Serve): void {
    void this.#outgoing.run(() => serve(this.#controller.signal, this.#upload));
  }

  onCredit(bytes: number): void {
    this.#outgoing.onCredit(bytes);
  }

  onUpload(bytes: Uint8Array, frameBytes: number): void {
    if (!this.#failed) this.#upload.onData(bytes, frameBytes);
  }

  onUploadEnd(): void {
    if (this.#failed) return;
    if (!this.#upload.begun || this.#upload.ended) throw malformed('an end of what was not begun, or a second one');
    this.#upload.onEnd(undefined);
    this.#closeIfOver();
  }

  stop(reason: PeerworkError): void {
    this.#onClosed();
    this.#controller.abort(reason);
    this.#upload.onEnd(reason);
    this.#outgoing.stop();
  }

  /**
   * Fails the stream after our own end, so that the peer has all of our data: otherwise it would assume that what nobody reads was
   * delivered.
   */
  #failIfUnread(): void {
    if (!this.#unread || !this.#sent || this.#failed || this.#upload.ended) return;
    this.#failed = true;
    this.#onClosed();
    this.#writer.letter(Kind.fail, this.#id, formatRefusal(new PeerworkError('rpc-cancelled')));
  }

  #closeIfOver(): void {
    if (this.#sent && this.#upload.ended) this.#onClosed();
  }
}
