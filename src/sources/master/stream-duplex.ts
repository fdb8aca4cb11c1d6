import { Duplex } from 'node:stream';
import { PeerworkError } from '../../errors.js';

type Callback = (error?: Error | null) => void;
type Result = IteratorResult<Uint8Array, undefined>;

const finished: Result = { done: true, value: undefined };

/**
 * A bidirectional stream of a link as a Node Duplex; each direction ends separately. A write waits until the link has accepted the previous
 * one, and bytes are read from the link only as they are read here.
 */
export class StreamDuplex extends Duplex {
  /** Resolves when the peer has accepted the stream; otherwise rejects with its reason. */
  readonly accepted: Promise<void>;
  readonly #controller = new AbortController();
  #isAccepted = false;
  #accept: () => void = () => {};
  #refuse: (error: Error) => void = () => {};
  #resumeReading: (() => void) | undefined;
  /** The write that the link has not accepted yet. */
  #written: { readonly bytes: Uint8Array; readonly onAccepted: Callback } | undefined;
  /** Resolves the link's pending read of the next write. */
  #pendingNext: ((result: Result) => void) | undefined;
  #uploadEnded = false;

  constructor(open: (upload: AsyncIterable<Uint8Array>, signal: AbortSignal) => AsyncIterable<Uint8Array>) {
    super({ allowHalfOpen: true });
    this.accepted = new Promise((resolve, reject) => {
      this.#accept = resolve;
      this.#refuse = reject;
    });
    this.accepted.catch(() => {});
    // A connection that breaks without a listener must not crash the Worker.
    this.on('error', () => {});
    void this.#receive(open({ [Symbol.asyncIterator]: () => this.#upload() }, this.#controller.signal));
  }

  override _read(): void {
    this.#resumeReading?.();
  }

  override _write(bytes: Uint8Array, _encoding: BufferEncoding, onAccepted: Callback): void {
    const pendingNext = this.#pendingNext;
    this.#pendingNext = undefined;
    if (pendingNext === undefined) {
      this.#written = { bytes, onAccepted };
      return;
    }
    pendingNext({ done: false, value: bytes });
    onAccepted();
  }

  override _final(callback: Callback): void {
    this.#uploadEnded = true;
    this.#pendingNext?.(finished);
    callback();
  }

  override _destroy(error: Error | null, callback: Callback): void {
    const orderly = error === null && this.readableEnded && this.writableFinished;
    this.#uploadEnded = true;
    this.#written?.onAccepted(error);
    this.#written = undefined;
    this.#pendingNext?.(finished);
    this.#resumeReading?.();
    // After an orderly end the last bytes may still be in transit.
    if (!orderly) this.#controller.abort(error ?? undefined);
    this.#refuse(error ?? new PeerworkError('rpc-cancelled'));
    callback(error);
  }

  async #receive(stream: AsyncIterable<Uint8Array>): Promise<void> {
    try {
      for await (const bytes of stream) {
        if (this.destroyed) return;
        if (!this.push(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)))
          await new Promise<void>((resolve) => {
            this.#resumeReading = resolve;
          });
      }
      if (this.#isAccepted) this.push(null);
      else this.destroy(new PeerworkError('tunnel-broken', 'it was closed'));
    } catch (error) {
      this.destroy(error as Error);
    }
  }

  #upload(): AsyncIterator<Uint8Array, undefined> {
    this.#isAccepted = true;
    this.#accept();
    return {
      next: () => {
        const written = this.#written;
        this.#written = undefined;
        if (written !== undefined) {
          written.onAccepted();
          return Promise.resolve({ done: false, value: written.bytes });
        }
        if (this.#uploadEnded) return Promise.resolve(finished);
        return new Promise((resolve) => {
          this.#pendingNext = resolve;
        });
      },
      // The peer stopped reading. If it has not ended its own direction yet, that end will carry the reason.
      return: () => {
        if (!this.#uploadEnded) this.#breakAfterEnd();
        this.#uploadEnded = true;
        this.#pendingNext?.(finished);
        return Promise.resolve(finished);
      },
    };
  }

  /** Fails the stream after everything received has been delivered; written bytes were not accepted, so this is not an orderly end. */
  #breakAfterEnd(): void {
    const error = new PeerworkError('tunnel-broken', 'the other side takes no more');
    if (this.readableEnded) this.destroy(error);
    else this.once('end', () => this.destroy(error));
  }
}
