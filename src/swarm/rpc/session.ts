import type { Clock } from '../../clock.js';
import { asPeerworkError, type ErrorCode, knownError, PeerworkError } from '../../errors.js';
import type { Log } from '../../log.js';
import type { Primitives } from '../crypto.js';
import type { Handshaken } from '../handshake.js';
import type { Link } from '../link.js';
import type { CallOptions, Rpc, RpcHandlers, StreamOptions } from '../peer.js';
import { SealedLink } from '../sealed.js';
import { OpenCalls } from './calls.js';
import { Heartbeat, MASTER_QUIET_MS, WORKER_QUIET_MS } from './heartbeat.js';
import { Kind, LAST_ID } from './messages.js';
import { OpenStreams } from './open-streams.js';
import { Pace } from './pace.js';
import { Reader } from './reader.js';
import { ServedCalls } from './served-calls.js';
import { ServedStreams } from './served-streams.js';
import { formatCall } from './text.js';
import { Writer } from './writer.js';

export interface RpcSessionOptions {
  readonly link: Link;
  /** Result of `shakeHands` on this link. */
  readonly handshaken: Handshaken;
  readonly primitives: Primitives;
  readonly clock: Clock;
  readonly log: Log;
}

/** Limit for signals, which alone are sent however much is waiting: a peer that triggers more of them but never reads is disconnected. */
const MAX_BUFFERED_BYTES = 8 * 1024 * 1024;
/** Characters of waiting letters above which lossy notes are dropped. */
const MAX_LOSSY_CHARS = 4 * 1024 * 1024;

/**
 * Calls, notes and streams with one peer, over an authenticated link.
 *
 * new → started → ended. Calls may be made before `start`, but nothing from the peer is read until then. The session ends by `close`, by
 * the peer's goodbye, by the loss of the link, or because the peer violated the protocol; everything pending then rejects with that
 * reason.
 */
export class RpcSession implements Rpc {
  readonly closed: Promise<PeerworkError>;
  readonly #link: Link;
  readonly #early: readonly Uint8Array[];
  readonly #log: Log;
  readonly #sealed: SealedLink;
  readonly #pace: Pace;
  readonly #writer: Writer;
  readonly #heartbeat: Heartbeat;
  readonly #calls: OpenCalls;
  readonly #streams: OpenStreams;
  #reader: Reader | undefined;
  #servedCalls: ServedCalls | undefined;
  #servedStreams: ServedStreams | undefined;
  #nextId = 0;
  #reason: PeerworkError | undefined;
  #resolveClosed: (reason: PeerworkError) => void = () => {};

  constructor({ link, handshaken, primitives, clock, log }: RpcSessionOptions) {
    this.#link = link;
    this.#early = handshaken.early;
    this.#log = log;
    this.#sealed = new SealedLink(link, handshaken.keys, primitives);
    this.#pace = new Pace(clock);
    this.#heartbeat = new Heartbeat({
      clock,
      quietMs: handshaken.peer.role === 'master' ? WORKER_QUIET_MS : MASTER_QUIET_MS,
      // Also flushes what is waiting, in case a link fails to signal that it drained.
      ping: () => this.#writer.ping(),
      longestMs: () => this.#pace.longestMs,
      lost: () => this.#end(new PeerworkError('link-lost', 'the peer fell silent'), false),
    });
    this.#writer = new Writer(this.#sealed, this.#pace, () => this.#heartbeat.sent());
    const [pace, partBytes] = [this.#pace, () => this.#reader?.partBytes ?? 0];
    const movement = {
      get arrivedBytes() {
        return pace.arrivedBytes;
      },
      get partBytes() {
        return partBytes();
      },
    };
    this.#calls = new OpenCalls(this.#writer, clock, movement);
    this.#streams = new OpenStreams(this.#writer, clock, movement);
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
    link.onClose((error) => {
      this.#end(asPeerworkError(error, 'link-lost'), false);
      this.#resolveClosed(this.#reason ?? new PeerworkError('link-closed'));
    });
  }

  get roundTripMs(): number | undefined {
    return this.#pace.roundTripMs;
  }

  get bytesPerMs(): number | undefined {
    return this.#pace.bytesPerMs;
  }

  get traffic(): { readonly sent: number; readonly received: number } {
    return this.#sealed.traffic;
  }

  /** Begins to read. Handlers may call the peer. */
  start(handlers: RpcHandlers): void {
    if (this.#reason !== undefined) return;
    this.#servedCalls = new ServedCalls(this.#writer, handlers, this.#log);
    this.#servedStreams = new ServedStreams(this.#writer, handlers, this.#log);
    const reader = new Reader({
      text: (kind, id, text) => this.#onText(kind, id, text),
      data: (kind, id, bytes, frameBytes) => {
        if (kind === Kind.data) this.#streams.onData(id, bytes, frameBytes);
        else this.#servedStreams?.onUpload(id, bytes, frameBytes);
      },
      credit: (kind, id, bytes) => {
        if (kind === Kind.credit) this.#servedStreams?.onCredit(id, bytes);
        else this.#streams.onUploadCredit(id, bytes);
      },
      bare: (kind, id) => this.#onBare(kind, id),
    });
    this.#reader = reader;
    const isOpen = () => this.#reason === undefined;
    const listener = {
      frame: (frame: Uint8Array) => {
        if (!isOpen()) return;
        this.#heartbeat.received();
        try {
          reader.read(frame, isOpen);
        } catch (error) {
          this.#end(asPeerworkError(error), true);
        }
      },
      broken: (error: PeerworkError) => this.#end(error, true),
    };
    this.#link.onDrain(() => this.#writer.flush());
    this.#heartbeat.start();
    this.#sealed.start(listener, this.#early);
  }

  call(verb: string, args: unknown, options: CallOptions = {}): Promise<unknown> {
    if (this.#reason !== undefined) return Promise.reject(this.#reason);
    return this.#calls.call(this.#newId(), verb, args, options);
  }

  notify(verb: string, args: unknown, { lossy = false }: { readonly lossy?: boolean } = {}): void {
    if (this.#reason !== undefined || (lossy && this.#writer.waitingChars > MAX_LOSSY_CHARS)) return;
    const { text, bytes } = formatCall(verb, args);
    this.#writer.letter(Kind.note, 0, text, bytes);
  }

  stream(verb: string, args: unknown, options: StreamOptions = {}): AsyncIterable<Uint8Array> {
    return {
      [Symbol.asyncIterator]: () => {
        if (this.#reason !== undefined) return failing(this.#reason);
        return this.#streams.open(this.#newId(), verb, args, options);
      },
    };
  }

  /** Sends a goodbye; the peer's `closed` resolves with `reason`, ours with `link-closed` once the link is closed. */
  close(reason: ErrorCode = 'link-closed'): void {
    this.#end(new PeerworkError('link-closed'), true, reason);
  }

  #onText(kind: number, id: number, text: string): void {
    switch (kind) {
      case Kind.call:
        this.#servedCalls?.onCall(id, text);
        return;
      case Kind.answer:
        this.#calls.onAnswer(id, text);
        return;
      case Kind.refusal:
        this.#calls.onRefusal(id, text);
        return;
      case Kind.note:
        this.#servedCalls?.onNote(text);
        return;
      case Kind.open:
        this.#servedStreams?.onOpen(id, text);
        return;
      case Kind.fail:
        this.#streams.onFail(id, text);
        return;
      case Kind.goodbye:
        this.#end(knownError(text) ?? new PeerworkError('link-closed'), false);
        return;
    }
  }

  #onBare(kind: number, id: number): void {
    switch (kind) {
      case Kind.cancel:
        if (this.#servedCalls?.onCancel(id) === false) this.#servedStreams?.onCancel(id);
        return;
      case Kind.end:
        this.#streams.onEnd(id);
        return;
      case Kind.uploadEnd:
        this.#servedStreams?.onUploadEnd(id);
        return;
      case Kind.ping:
        if (this.#link.bufferedBytes > MAX_BUFFERED_BYTES) throw new PeerworkError('link-lost', 'the peer does not read');
        {
          this.#writer.signal(Kind.pong, id);
          return;
        }
      case Kind.pong:
        this.#pace.pong(id);
        this.#writer.flush();
        return;
    }
  }

  /** @param goodbye code sent in the goodbye */
  #end(reason: PeerworkError, sendGoodbye: boolean, goodbye: string = reason.code): void {
    if (this.#reason !== undefined) return;
    this.#reason = reason;
    this.#heartbeat.stop();
    if (sendGoodbye) {
      this.#writer.end(goodbye);
    } else {
      this.#writer.drop();
      // Not after the link is closed: a dead one takes another second to close.
      this.#resolveClosed(reason);
    }
    this.#link.close();
    this.#calls.end(reason);
    this.#streams.end(reason);
    this.#servedCalls?.end(reason);
    this.#servedStreams?.end(reason);
  }

  /** Returns an id that is not in use, even after four billion calls. */
  #newId(): number {
    do this.#nextId = this.#nextId >= LAST_ID ? 0 : this.#nextId + 1;
    while (this.#calls.has(this.#nextId) || this.#streams.has(this.#nextId));
    return this.#nextId;
  }
}

async function* failing(error: Error): AsyncGenerator<Uint8Array> {
  yield await Promise.reject(error);
}
