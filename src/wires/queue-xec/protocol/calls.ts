import { randomBytes } from 'node:crypto';
import type { Clock } from '../../../clock.js';
import { PeerworkError } from '../../../errors.js';
import type { Log } from '../../../log.js';
import { WireFault } from './bencode.js';
import type { RoomKeys } from './keys.js';
import { MAX_AGE_MS, messageId, type Packet, type PacketBody, readMessage, sealPacket, signPacket } from './packet.js';
import { parseJson } from './transfer.js';
import type { Wire } from './wire.js';

/** Twice the age at which packets are dropped anyway. */
const FORGET_MS = 2 * MAX_AGE_MS;

const MAX_SEEN = 100_000;

const CALL_NONCE_BYTES = 8;
/** Concurrent calls that are served per member. */
const MAX_SERVED = 64;
const MAX_PEERS = 4_096;
const MAX_FORMER = 4;
/** Larger messages are not relayed, because each connection would buffer a copy. */
const MAX_RELAYED_BYTES = 64 * 1024;
/** Skew at which we warn: a minute before others start to drop our packets. */
const SKEW_MS = MAX_AGE_MS - 60_000;

/** Handles a call; resolving with undefined sends no reply. `args` is the JSON sent by the untrusted peer, undefined if it was invalid. */
export type RoomHandler = (from: string, args: unknown) => Promise<unknown>;

export interface CallsOptions {
  readonly token: string;
  readonly keys: RoomKeys;
  readonly serve: ReadonlyMap<string, RoomHandler>;
  readonly clock: Clock;
  readonly log: Log;
  readonly wires: () => Iterable<Wire>;
  readonly onSeen?: (address: string) => void;
  readonly onSkew?: (skewMs: number) => void;
}

interface KnownMember {
  ek: Buffer;
  /** Timestamp of the newest packet; 0 while only a handshake was seen, which is not signed. */
  sentAt: number;
  served: number;
}

interface OpenCall {
  readonly address: string;
  readonly resolveCall: (value: unknown) => void;
  readonly rejectCall: (error: PeerworkError) => void;
}

/** A call in flight. */
export interface Call {
  /** Size of the message. */
  readonly bytes: number;
  /** Rejects with `link-lost`, `rpc-timeout` or `closed`. */
  readonly answered: Promise<unknown>;
}

export interface CallOptions {
  /** 0 waits as long as there is a link. */
  readonly timeoutMs: number;
  /** Whether the member's echo of the message counts as the reply: a member that relays a message has processed it. */
  readonly echoAnswers?: boolean;
}

/** The channel messages of a room: the known members and their keys, calls and replies, deduplication and relaying. */
export class Calls {
  readonly #options: CallsOptions;
  /** Newest first: our current identity, then earlier ones. */
  #keys: readonly [RoomKeys, ...RoomKeys[]];
  readonly #known = new Map<string, KnownMember>();
  /** By the nonce of the call. */
  readonly #open = new Map<string, OpenCall>();
  /** By the id of the message. */
  readonly #echoes = new Map<string, (from: string | undefined) => void>();
  readonly #seen: SeenMessages;

  constructor(options: CallsOptions) {
    this.#options = options;
    this.#keys = [options.keys];
    this.#seen = new SeenMessages(options.clock);
  }

  /** Call when a connection to this member opened. Its handshake is not signed, so it never overrides what a packet said. */
  meet(address: string, ek: Buffer): void {
    const known = this.#known.get(address);
    if (known === undefined) this.#remember(address, ek, 0);
    else if (known.sentAt === 0) known.ek = ek;
    // Introduces us to the member.
    this.#send(this.#signed({ y: 'p' }));
    this.#options.onSeen?.(address);
  }

  /** Takes a new identity and announces it at once. */
  renew(keys: RoomKeys): void {
    this.#keys = [keys, ...this.#keys.slice(0, MAX_FORMER)];
    this.#send(this.#signed({ y: 'p' }));
  }

  /** Call when no connection leads to the member any more; calls to it fail. */
  lose(address: string): void {
    for (const call of [...this.#open.values()]) if (call.address === address) call.rejectCall(new PeerworkError('link-lost', address));
  }

  call(address: string, name: string, args: unknown, { timeoutMs, echoAnswers = false }: CallOptions): Call {
    const rn = randomBytes(CALL_NONCE_BYTES);
    const nonce = rn.toString('hex');
    const message = this.#sealed(address, { y: 'r', c: name, a: JSON.stringify(args), rn });
    if (message === undefined || !this.#send(message, address)) return failed(new PeerworkError('link-lost', address));
    const id = messageId(message);
    const { promise: answered, resolve, reject } = deferred<unknown>();
    const end = () => {
      timer?.cancel();
      this.#open.delete(nonce);
      this.#echoes.delete(id);
    };
    const resolveCall = (value: unknown) => {
      end();
      resolve(value);
    };
    const rejectCall = (error: PeerworkError) => {
      end();
      reject(error);
    };
    const timer =
      timeoutMs === 0
        ? undefined
        : this.#options.clock.after(timeoutMs, () => rejectCall(new PeerworkError('rpc-timeout', name)), { unref: true });
    this.#open.set(nonce, { address, resolveCall, rejectCall });
    this.#echoes.set(id, (from) => {
      if (echoAnswers && from === address) resolveCall(undefined);
    });
    return { bytes: message.length, answered };
  }

  /** Whether exactly one call is in flight. */
  get awaitsOne(): boolean {
    return this.#open.size === 1;
  }

  receive(wire: Wire, message: Buffer): void {
    const id = messageId(message);
    this.#echoes.get(id)?.(wire.hello?.address);
    // Messages that we sent are recorded as seen, too.
    if (!this.#seen.add(id)) return;
    let packet: Packet | 'unreadable' = 'unreadable';
    let [reader] = this.#keys;
    try {
      for (reader of this.#keys) {
        packet = readMessage(reader, this.#options.token, message);
        if (packet !== 'unreadable') break;
      }
    } catch (fault) {
      this.#options.log.debug('a message cannot be read', {
        from: wire.hello?.address,
        fault: fault instanceof WireFault ? fault.message : fault,
      });
      return;
    }
    // Calls and replies for us need not be relayed; everything else may be for members that only we are connected to.
    if (packet === 'unreadable' || packet.body?.y === 'p' || packet.body?.y === 'm' || packet.body?.y === 'x') this.#relay(wire, message);
    if (packet !== 'unreadable') this.#handle(packet, reader);
  }

  close(): void {
    for (const call of [...this.#open.values()]) call.rejectCall(new PeerworkError('closed'));
  }

  #handle(packet: Packet, reader: RoomKeys): void {
    const { clock, onSkew, onSeen } = this.#options;
    const { address, ek, sentAt, body } = packet;
    if (this.#keys.some((own) => own.address === address)) return;
    const skewMs = sentAt - clock.wall();
    if (Math.abs(skewMs) > SKEW_MS) onSkew?.(skewMs);
    if (skewMs <= -MAX_AGE_MS) return;
    const known = this.#known.get(address);
    if (known === undefined) {
      this.#remember(address, ek, sentAt);
      onSeen?.(address);
    } else {
      if (sentAt >= known.sentAt) Object.assign(known, { ek, sentAt });
      // Move it to the end, so that it is evicted last.
      this.#known.delete(address);
      this.#known.set(address, known);
    }
    if (body?.y === 'r') void this.#serve(address, body, reader);
    if (body?.y === 'rr') this.#onReply(address, body);
  }

  #onReply(address: string, { rn, rr }: Extract<PacketBody, { y: 'rr' }>): void {
    const call = this.#open.get(Buffer.from(rn).toString('hex'));
    // Only the member that was called may reply, even if others know the nonce.
    if (call?.address === address) call.resolveCall(parseJson(rr));
  }

  async #serve(address: string, { c, a, rn }: Extract<PacketBody, { y: 'r' }>, reader: RoomKeys): Promise<void> {
    const { serve, log } = this.#options;
    const known = this.#known.get(address);
    if (known === undefined || known.served >= MAX_SERVED) return;
    known.served += 1;
    try {
      const handler = serve.get(c);
      const result = handler === undefined ? { error: 'No such API call.' } : await handler(address, parseJson(a));
      const rr = JSON.stringify(result);
      const message = rr === undefined ? undefined : this.#sealed(address, { y: 'rr', rn, rr }, reader);
      if (message !== undefined) this.#send(message, address);
    } catch (error) {
      log.warn('a call of a queue-xec peer failed', {
        call: c.slice(0, 40),
        error,
        hint: 'No action needed if the peer retries. Otherwise check that peer’s log.',
      });
    } finally {
      known.served -= 1;
    }
  }

  #remember(address: string, ek: Buffer, sentAt: number): void {
    const [oldest] = this.#known.keys();
    if (this.#known.size >= MAX_PEERS && oldest !== undefined) this.#known.delete(oldest);
    this.#known.set(address, { ek, sentAt, served: 0 });
  }

  #signed(body: PacketBody, keys = this.#keys[0]): Buffer {
    const { token, clock } = this.#options;
    return signPacket(keys, token, clock.wall(), body);
  }

  #sealed(address: string, body: PacketBody, keys = this.#keys[0]): Buffer | undefined {
    const known = this.#known.get(address);
    if (known === undefined) return undefined;
    try {
      return sealPacket(keys, known.ek, this.#signed(body, keys));
    } catch (fault) {
      if (fault instanceof WireFault) return undefined;
      throw fault;
    }
  }

  /** Sends over one connection to the member if there is one, otherwise over all. Returns false if nothing could be sent. */
  #send(message: Buffer, address?: string): boolean {
    const wires = [...this.#options.wires()];
    this.#seen.add(messageId(message));
    const direct = address === undefined ? undefined : wires.find((wire) => wire.hello?.address === address && wire.send(message));
    if (direct !== undefined) return true;
    return wires.filter((wire) => wire.send(message)).length > 0;
  }

  #relay(from: Wire, message: Buffer): void {
    if (message.length > MAX_RELAYED_BYTES) return;
    for (const wire of this.#options.wires())
      if (wire !== from && wire.hello?.address !== from.hello?.address && !wire.congested) wire.send(message);
  }
}

function failed(error: PeerworkError): Call {
  return { bytes: 0, answered: Promise.reject(error) };
}

function deferred<T>() {
  let resolve: (value: T) => void = () => {};
  let reject: (error: Error) => void = () => {};
  const promise = new Promise<T>((resolved, rejected) => {
    resolve = resolved;
    reject = rejected;
  });
  return { promise, resolve, reject };
}

/** Ids of messages already received. Every member relays what it receives, so most messages arrive more than once. */
class SeenMessages {
  readonly #clock: Clock;
  /** Oldest first. */
  readonly #seen = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Returns false for a duplicate. */
  add(id: string): boolean {
    if (this.#seen.has(id)) return false;
    const now = this.#clock.now();
    this.#seen.set(id, now);
    for (const [oldest, at] of this.#seen) {
      if (this.#seen.size <= MAX_SEEN && now - at < FORGET_MS) break;
      this.#seen.delete(oldest);
    }
    return true;
  }
}
