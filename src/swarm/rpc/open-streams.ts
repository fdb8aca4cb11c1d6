import type { Clock } from '../../clock.js';
import { asPeerworkError, PeerworkError } from '../../errors.js';
import type { StreamOptions } from '../peer.js';
import { cancel, DEFAULT_CALL_TIMEOUT_MS } from './calls.js';
import { Incoming } from './incoming.js';
import { Kind, STREAM_WINDOW_BYTES, uint32 } from './messages.js';
import { onAbort } from './on-abort.js';
import { Outgoing } from './outgoing.js';
import { type Movement, Patience } from './patience.js';
import { formatCall, parseRefusal } from './text.js';
import type { Letter, Writer } from './writer.js';

/** Byte streams of the peer that we read, and on some of which we send. */
export class OpenStreams {
  readonly #writer: Writer;
  readonly #clock: Clock;
  readonly #movement: Movement;
  readonly #open = new Map<number, OpenStream>();

  constructor(writer: Writer, clock: Clock, movement: Movement) {
    this.#writer = writer;
    this.#clock = clock;
    this.#movement = movement;
  }

  has(id: number): boolean {
    return this.#open.has(id);
  }

  open(id: number, verb: string, args: unknown, options: StreamOptions): AsyncIterableIterator<Uint8Array> {
    const { text, bytes } = formatCall(verb, args);
    const letter = this.#writer.letter(Kind.open, id, text, bytes);
    const stream = new OpenStream(id, letter, this.#writer, options, () => this.#open.delete(id));
    this.#open.set(id, stream);
    stream.start(verb, this.#clock, this.#movement);
    return stream.incoming;
  }

  /** Throws `frame-malformed`. Data of an unknown stream is ignored. */
  onData(id: number, bytes: Uint8Array, frameBytes: number): void {
    this.#open.get(id)?.incoming.onData(bytes, frameBytes);
  }

  onEnd(id: number): void {
    this.#open.get(id)?.onEnd();
  }

  onFail(id: number, text: string): void {
    this.#open.get(id)?.fail(parseRefusal(text));
  }

  onUploadCredit(id: number, bytes: number): void {
    this.#open.get(id)?.onUploadCredit(bytes);
  }

  end(reason: PeerworkError): void {
    for (const stream of [...this.#open.values()]) stream.fail(reason);
  }
}

/**
 * One stream that we opened. Our upload waits until the peer grants credit for it, which a peer that does not support uploads never does.
 * The stream is over when both directions have ended, when the peer reports a failure, or when this side stops it.
 */
class OpenStream {
  readonly incoming: Incoming;
  readonly #id: number;
  readonly #letter: Letter;
  readonly #writer: Writer;
  readonly #options: StreamOptions;
  readonly #onClosed: () => void;
  #outgoing: Outgoing | undefined;
  #sent = false;
  #over = false;
  #patience: Patience | undefined;
  #forgetSignal: (() => void) | undefined;

  constructor(id: number, letter: Letter, writer: Writer, options: StreamOptions, onClosed: () => void) {
    this.#id = id;
    this.#letter = letter;
    this.#writer = writer;
    this.#options = options;
    this.#onClosed = onClosed;
    this.incoming = new Incoming({
      windowBytes: STREAM_WINDOW_BYTES,
      begun: true,
      grant: (bytes) => writer.signal(Kind.credit, id, uint32(bytes)),
      onStop: () => this.#stop(undefined),
    });
  }

  start(verb: string, clock: Clock, movement: Movement): void {
    const { signal, upload, timeoutMs = DEFAULT_CALL_TIMEOUT_MS } = this.#options;
    const stop = () => this.#stop(new PeerworkError('rpc-cancelled'));
    if (signal?.aborted) {
      stop();
      return;
    }
    if (signal !== undefined) this.#forgetSignal = onAbort(signal, stop);
    if (upload === undefined) return;
    const onTimeout = () => this.#stop(new PeerworkError('rpc-timeout', verb));
    this.#patience = new Patience(clock, timeoutMs, this.#letter, movement, onTimeout);
  }

  onUploadCredit(bytes: number): void {
    this.#patience?.end();
    if (this.#outgoing !== undefined) {
      this.#outgoing.onCredit(bytes);
      return;
    }
    const { upload = nothing(), onUploaded } = this.#options;
    this.#outgoing = new Outgoing({
      id: this.#id,
      kind: Kind.upload,
      creditBytes: bytes,
      writer: this.#writer,
      ending: (failure) => {
        if (failure === undefined) return { kind: Kind.uploadEnd, text: '' };
        this.#stop(asPeerworkError(failure.error));
        return undefined;
      },
      onEnded: () => {
        this.#sent = true;
        onUploaded?.();
        if (this.incoming.ended) this.#close();
      },
    });
    void this.#outgoing.run(() => upload);
  }

  /** The peer has sent everything. The stream goes on as long as the peer still takes our upload. */
  onEnd(): void {
    this.incoming.onEnd(undefined);
    if (this.#outgoing === undefined || this.#sent) this.#close();
  }

  fail(error: PeerworkError): void {
    this.#close();
    this.incoming.onEnd(error);
  }

  /** Ends the stream from this side. */
  #stop(error: PeerworkError | undefined): void {
    if (this.#over) return;
    cancel(this.#writer, this.#id, this.#letter);
    this.#close();
    this.incoming.onEnd(error, true);
  }

  #close(): void {
    if (this.#over) return;
    this.#over = true;
    this.#patience?.end();
    this.#forgetSignal?.();
    this.#outgoing?.stop();
    this.#onClosed();
  }
}

async function* nothing(): AsyncGenerator<Uint8Array> {}
