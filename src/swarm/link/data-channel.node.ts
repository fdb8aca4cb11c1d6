import type { DataChannel } from 'node-datachannel';

type Handler<Event> = ((event: Event) => void) | null;

/** RTCDataChannel over node-datachannel, with `on…` properties only: simple-peer and the link use nothing else. */
export class NodeDataChannel {
  binaryType = 'arraybuffer';
  onopen: Handler<object> = null;
  onmessage: Handler<{ readonly data: string | ArrayBuffer }> = null;
  onbufferedamountlow: Handler<object> = null;
  onerror: Handler<{ readonly error: Error }> = null;
  onclose: Handler<object> = null;
  readonly label: string;
  readonly #native: DataChannel;
  #state: 'connecting' | 'open' | 'closing' | 'closed';
  #lowThreshold = 0;

  constructor(native: DataChannel) {
    this.#native = native;
    this.label = native.getLabel();
    this.#state = native.isOpen() ? 'open' : 'connecting';
    native.onOpen(safely(() => this.#opened()));
    native.onClosed(safely(() => this.#closed()));
    native.onError(safely((message) => this.onerror?.({ error: new Error(message) })));
    native.onBufferedAmountLow(safely(() => this.onbufferedamountlow?.({})));
    native.onMessage(safely((message) => this.onmessage?.({ data: typeof message === 'string' ? message : exactBuffer(message) })));
    // A channel created by the other side is open before simple-peer has had a chance to listen.
    if (this.#state === 'open') queueMicrotask(() => this.onopen?.({}));
  }

  get readyState(): string {
    return this.#state;
  }

  get bufferedAmount(): number {
    return this.#state === 'closed' ? 0 : this.#native.bufferedAmount();
  }

  get bufferedAmountLowThreshold(): number {
    return this.#lowThreshold;
  }

  set bufferedAmountLowThreshold(bytes: number) {
    this.#lowThreshold = bytes;
    if (this.#state !== 'closed') this.#native.setBufferedAmountLowThreshold(bytes);
  }

  send(data: string | ArrayBuffer | ArrayBufferView): void {
    if (this.#state !== 'open') throw new Error(`the data channel is ${this.#state}`);
    if (typeof data === 'string') this.#native.sendMessage(data);
    else if (data instanceof Uint8Array) this.#native.sendMessageBinary(data);
    else if (data instanceof ArrayBuffer) this.#native.sendMessageBinary(new Uint8Array(data));
    else this.#native.sendMessageBinary(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }

  close(): void {
    if (this.#state === 'closing' || this.#state === 'closed') return;
    this.#state = 'closing';
    this.#native.close();
  }

  #opened(): void {
    if (this.#state !== 'connecting') return;
    this.#state = 'open';
    this.onopen?.({});
  }

  #closed(): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.onclose?.({});
  }
}

function exactBuffer(message: ArrayBuffer | Buffer): ArrayBuffer {
  if (message instanceof ArrayBuffer) return message;
  const { buffer, byteOffset, byteLength } = message;
  if (buffer instanceof ArrayBuffer && byteOffset === 0 && byteLength === buffer.byteLength) return buffer;
  return new Uint8Array(message).buffer;
}

/**
 * Wraps a callback for node-datachannel. A JS exception that escapes from one aborts the process (SIGABRT, without `uncaughtException`),
 * so it is rethrown in a microtask, where Node can report it.
 */
export function safely<Args extends unknown[]>(callback: (...args: Args) => void): (...args: Args) => void {
  return (...args) => {
    try {
      callback(...args);
    } catch (error) {
      queueMicrotask(() => {
        throw error;
      });
    }
  };
}
