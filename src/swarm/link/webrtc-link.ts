import type SimplePeer from 'simple-peer';
import type { Clock, Timer } from '../../clock.js';
import { PeerworkError } from '../../errors.js';
import { type Link, LOW_WATER_BYTES, MAX_LINK_MESSAGE_BYTES } from '../link.js';
import type { EngineChannel } from './engine.js';

/** How long `close` waits until the other side has received everything that was sent. */
const flushMs = 1000;
/**
 * Sent after everything else by the side that closes; the only text message there is. Closing the channel instead would lose messages:
 * the library signals the end regardless of messages that it has not delivered yet.
 */
export const goodbye = 'bye';

/** When to check again a path that was relayed at first: ICE continues for 2 s and moves to a direct path if one opens meanwhile. */
const recheckPathAtMs = [600, 2500];

export interface LinkFacts {
  readonly fingerprints: Link['fingerprints'];
  readonly path: Link['path'];
  readPath(): Promise<Link['path']>;
}

/** Messages of up to 64 KiB that are kept before there is a receiver: an honest peer sends one and waits. */
export const MAX_EARLY_MESSAGES = 64;

/**
 * A link over an open simple-peer. It is open until `close` is called here. Then it is closing: the goodbye is on its way, and the other
 * side responds by ending the connection. It is closed once that is seen, or after `flushMs`. It is closed at once if a goodbye arrives
 * or the other side leaves in another orderly way (`link-closed`), or if the connection fails (`link-lost`). Whatever happens first
 * decides the reason; later events are ignored.
 */
export class WebRtcLink implements Link {
  readonly fingerprints: Link['fingerprints'];
  readonly #peer: SimplePeer.Instance;
  readonly #channel: EngineChannel;
  readonly #clock: Clock;
  /** Messages that arrived before there was a receiver. */
  #early: (Uint8Array | typeof goodbye)[] = [];
  #receive: ((message: Uint8Array) => void) | undefined;
  readonly #drainListeners: (() => void)[] = [];
  #closeListeners: ((error: Error) => void)[] = [];
  #end: PeerworkError | undefined;
  #closing = false;
  #path: Link['path'];
  #flushTimer: Timer | undefined;

  constructor(peer: SimplePeer.Instance, channel: EngineChannel, facts: LinkFacts, early: (Uint8Array | typeof goodbye)[], clock: Clock) {
    this.#peer = peer;
    this.#channel = channel;
    this.#clock = clock;
    this.fingerprints = facts.fingerprints;
    this.#path = facts.path;
    this.#early = early;
    // simple-peer's own use of this event serves its stream interface, which is not used here.
    channel.bufferedAmountLowThreshold = LOW_WATER_BYTES;
    channel.onbufferedamountlow = () => this.#drained();
    if (facts.path !== 'relay') return;
    for (const delayMs of recheckPathAtMs) clock.after(delayMs, () => void this.#recheckPath(facts), { unref: true });
  }

  get path(): Link['path'] {
    return this.#path;
  }

  get bufferedBytes(): number {
    return this.#end === undefined ? this.#channel.bufferedAmount : 0;
  }

  send(message: Uint8Array): void {
    if (message.byteLength > MAX_LINK_MESSAGE_BYTES) throw new PeerworkError('frame-oversized', `${message.byteLength} bytes to send`);
    if (this.#end !== undefined || this.#closing) return;
    try {
      this.#peer.send(message);
    } catch (error) {
      this.ended(new PeerworkError('link-lost', error instanceof Error ? error.message : String(error)));
    }
  }

  onMessage(listener: (message: Uint8Array) => void): void {
    this.#receive = listener;
    const early = this.#early;
    this.#early = [];
    for (const message of early) this.received(message);
  }

  onDrain(listener: () => void): void {
    this.#drainListeners.push(listener);
  }

  onClose(listener: (error: Error) => void): void {
    const end = this.#end;
    if (end === undefined) this.#closeListeners.push(listener);
    else queueMicrotask(() => listener(end));
  }

  close(): void {
    if (this.#closing || this.#end !== undefined) return;
    this.#closing = true;
    try {
      this.#peer.send(goodbye);
    } catch {
      // The channel is closed already, and its event is on the way.
    }
    this.#flushTimer = this.#clock.after(flushMs, () => this.ended(new PeerworkError('link-closed')));
  }

  /** Called by the owner of the peer's events when a message arrived. */
  received(message: Uint8Array | typeof goodbye): void {
    if (this.#end !== undefined) return;
    const allReceived = this.#receive !== undefined || this.#early.length === 0;
    if (message === goodbye && (allReceived || this.#closing)) this.ended(new PeerworkError('link-closed'));
    else if (this.#closing) return;
    else if (this.#receive !== undefined) {
      if (message !== goodbye) this.#receive(message);
    } else if (this.#early.push(message) > MAX_EARLY_MESSAGES)
      this.ended(new PeerworkError('link-lost', 'the peer sent too much before hands were shaken'));
  }

  /** Called by the owner of the peer's events when the peer has ended. */
  ended(reason: PeerworkError): void {
    if (this.#end !== undefined) return;
    this.#end = this.#closing ? new PeerworkError('link-closed') : reason;
    this.#flushTimer?.cancel();
    this.#early = [];
    this.#peer.destroy();
    const listeners = this.#closeListeners;
    this.#closeListeners = [];
    for (const listener of listeners) listener(this.#end);
  }

  async #recheckPath(facts: LinkFacts): Promise<void> {
    if (this.#end === undefined && this.#path === 'relay') this.#path = await facts.readPath();
  }

  #drained(): void {
    if (this.#end !== undefined || this.#closing) return;
    // The event is stale if more was sent meanwhile; it comes again once that is gone.
    if (this.#channel.bufferedAmount > LOW_WATER_BYTES) return;
    for (const listener of this.#drainListeners) listener();
  }
}
