import { type Clock, systemClock, type Timer } from '../../src/clock.js';
import { PeerworkError } from '../../src/errors.js';
import { type Link, LOW_WATER_BYTES } from '../../src/swarm/link.js';

export interface MemoryLinkOptions {
  /** Certificate fingerprints of the two ends; a man in the middle has its own. */
  readonly fingerprints?: readonly [string, string];
  /** Rate of each direction; default: unlimited. */
  readonly bytesPerSecond?: number;
  readonly clock?: Clock;
}

type End = 'a' | 'b';
export type Tamper = (message: Uint8Array, from: End) => readonly Uint8Array[];

/** Both ends of a link in one process: reliable, ordered, asynchronous, with the backpressure of a data channel. */
export class MemoryWire {
  readonly a: MemoryLink;
  readonly b: MemoryLink;
  /** The man in the middle; may change, drop, duplicate or reorder messages. */
  tamper: Tamper = (message) => [message];
  #dead = false;

  constructor(options: MemoryLinkOptions = {}) {
    const [ofA, ofB] = options.fingerprints ?? ['AA:01', 'BB:02'];
    this.a = new MemoryLink(ofA, ofB, options, (message) => this.#carry(message, 'a', this.b));
    this.b = new MemoryLink(ofB, ofA, options, (message) => this.#carry(message, 'b', this.a));
    this.a.onClose(() => this.#closed(this.b));
    this.b.onClose(() => this.#closed(this.a));
  }

  get dead(): boolean {
    return this.#dead;
  }

  /** Nothing arrives any more, without any notification. */
  cut(): void {
    this.#dead = true;
    this.a.flushMs = 1_000;
    this.b.flushMs = 1_000;
  }

  #carry(message: Uint8Array, from: End, to: MemoryLink): void {
    if (!this.#dead) for (const one of this.tamper(message, from)) to.arrive(one);
  }

  #closed(other: MemoryLink): void {
    if (!this.#dead) setImmediate(() => other.close());
  }
}

export class MemoryLink implements Link {
  readonly fingerprints: { readonly local: string; readonly remote: string };
  readonly path = 'direct';
  bufferedBytes = 0;
  /** How long closing waits in vain for the other side. */
  flushMs = 0;
  readonly #bytesPerSecond: number | undefined;
  readonly #clock: Clock;
  readonly #carry: (message: Uint8Array) => void;
  readonly #outgoing: Uint8Array[] = [];
  readonly #incoming: Uint8Array[] = [];
  readonly #closeListeners: ((error: Error) => void)[] = [];
  #listener: ((message: Uint8Array) => void) | undefined;
  #drainListener = () => {};
  #pumping = false;
  #timer: Timer | undefined;
  #closing = false;
  #closed: Error | undefined;
  #nextAt = 0;

  constructor(local: string, remote: string, options: MemoryLinkOptions, carry: (message: Uint8Array) => void) {
    this.fingerprints = { local, remote };
    this.#bytesPerSecond = options.bytesPerSecond;
    this.#clock = options.clock ?? systemClock;
    this.#carry = carry;
  }

  get closed(): boolean {
    return this.#closed !== undefined;
  }

  send(message: Uint8Array): void {
    if (this.#closing) return;
    this.#outgoing.push(message.slice());
    this.bufferedBytes += message.length;
    this.#pump();
  }

  onMessage(listener: (message: Uint8Array) => void): void {
    this.#listener = listener;
    for (const message of this.#incoming.splice(0)) listener(message);
  }

  onDrain(listener: () => void): void {
    this.#drainListener = listener;
  }

  onClose(listener: (error: Error) => void): void {
    if (this.#closed) listener(this.#closed);
    else this.#closeListeners.push(listener);
  }

  close(error: Error = new PeerworkError('link-closed')): void {
    if (this.#closed || this.#closing) return;
    this.#closing = true;
    this.#timer?.cancel();
    if (this.flushMs === 0) this.#end(error);
    else this.#clock.after(this.flushMs, () => this.#end(error));
  }

  #end(error: Error): void {
    this.#closed = error;
    for (const message of this.#outgoing.splice(0)) this.#carry(message);
    for (const listener of this.#closeListeners) listener(error);
  }

  arrive(message: Uint8Array): void {
    if (this.#closed) return;
    if (this.#listener) this.#listener(message);
    else this.#incoming.push(message);
  }

  #pump(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    if (this.#bytesPerSecond === undefined) {
      setImmediate(() => {
        this.#pumping = false;
        while (this.#outgoing.length > 0) this.#deliver();
      });
      return;
    }
    const now = this.#clock.now();
    this.#nextAt = Math.max(this.#nextAt, now) + ((this.#outgoing[0]?.length ?? 0) / this.#bytesPerSecond) * 1000;
    this.#timer = this.#clock.after(this.#nextAt - now, () => {
      this.#pumping = false;
      this.#deliver();
      if (this.#outgoing.length > 0) this.#pump();
    });
  }

  #deliver(): void {
    const message = this.#outgoing.shift();
    if (message === undefined) return;
    const before = this.bufferedBytes;
    this.bufferedBytes -= message.length;
    this.#carry(message);
    if (before >= LOW_WATER_BYTES && this.bufferedBytes < LOW_WATER_BYTES) this.#drainListener();
  }
}
