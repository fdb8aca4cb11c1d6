import { Duplex } from 'node:stream';
import { PeerworkError } from '../../errors.js';

type Callback = (error?: Error | null) => void;
type Result = IteratorResult<Uint8Array, undefined>;

const finished: Result = { done: true, value: undefined };

/**
 * A stream of a link in both directions as Node's Duplex; each direction ends separately. A write waits until the link has taken the one before, and
 * bytes are read from the link only as they are read here.
 */
export class StreamDuplex extends Duplex {
  /** Resolves when the peer has accepted; rejects with its reason if it did not. */
  readonly accepted: Promise<void>;
  readonly #controller = new AbortController();
  #isAccepted = false;
  #accept: () => void = () => {};
  #refuse: (error: Error) => void = () => {};
  #readOn: (() => void) | undefined;
  /** Written, and not taken by the link yet. */
  #written: { readonly bytes: Uint8Array; readonly taken: Callback } | undefined;
  /** The link waits for the next write. */
  #wanted: ((result: Result) => void) | undefined;
  #complete = false;

  constructor(open: (upload: AsyncIterable<Uint8Array>, signal: AbortSignal) => AsyncIterable<Uint8Array>) {
    super({ allowHalfOpen: true });
    this.accepted = new Promise((resolve, reject) => {
      this.#accept = resolve;
      this.#refuse = reject;
    });
    this.accepted.catch(() => {});
    // A connection that breaks without a listener must not end the Worker.
    this.on('error', () => {});
    void this.#receive(open({ [Symbol.asyncIterator]: () => this.#upload() }, this.#controller.signal));
  }

  override _read(): void {
    this.#readOn?.();
  }

  override _write(bytes: Uint8Array, _encoding: BufferEncoding, taken: Callback): void {
    const wanted = this.#wanted;
    this.#wanted = undefined;
    if (wanted === undefined) {
      this.#written = { bytes, taken };
      return;
    }
    wanted({ done: false, value: bytes });
    taken();
  }

  override _final(callback: Callback): void {
    this.#complete = true;
    this.#wanted?.(finished);
    callback();
  }

  override _destroy(error: Error | null, callback: Callback): void {
    const orderly = error === null && this.readableEnded && this.writableFinished;
    this.#complete = true;
    this.#written?.taken(error);
    this.#written = undefined;
    this.#wanted?.(finished);
    this.#readOn?.();
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
            this.#readOn = resolve;
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
          written.taken();
          return Promise.resolve({ done: false, value: written.bytes });
        }
        if (this.#complete) return Promise.resolve(finished);
        return new Promise((resolve) => {
          this.#wanted = resolve;
        });
      },
      // The peer no longer reads. If it has not sent its own end yet, that will carry the reason.
      return: () => {
        if (!this.#complete) this.#breakAfterEnd();
        this.#complete = true;
        this.#wanted?.(finished);
        return Promise.resolve(finished);
      },
    };
  }

  /** Everything received is delivered first; written bytes are not taken, which is not an orderly end. */
  #breakAfterEnd(): void {
    const error = new PeerworkError('tunnel-broken', 'the other side takes no more');
    if (this.readableEnded) this.destroy(error);
    else this.once('end', () => this.destroy(error));
  }
}
