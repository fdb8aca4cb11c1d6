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
/** Calls of one member that may be open at once. */
const MAX_SERVED = 64;
const MAX_PEERS = 4_096;
const MAX_FORMER = 4;
/** What is larger is passed on to nobody: it would be there once for each wire. */
const MAX_PASSED_BYTES = 64 * 1024;
/** A minute before the others begin to drop what we say. */
const SKEW_MS = MAX_AGE_MS - 60_000;

/** Handles a call; undefined sends no response. `args` is the JSON that the stranger sent, undefined if it is none. */
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

interface Known {
  ek: Buffer;
  /** Of the newest packet; 0 while only a handshake was seen, which is not signed. */
  sentAt: number;
  served: number;
}

interface OpenCall {
  readonly address: string;
  readonly answer: (value: unknown) => void;
  readonly fail: (error: PeerworkError) => void;
}

/** A call on its way. */
export interface Call {
  /** Of the message. */
  readonly bytes: number;
  /** Rejects with `link-lost`, `rpc-timeout` or `closed`. */
  readonly answered: Promise<unknown>;
}

export interface CallOptions {
  /** 0: for as long as there is a link. */
  readonly timeoutMs: number;
  /** That the member sends the message back is answer enough: whoever passes one on has dealt with it. */
  readonly echoAnswers?: boolean;
}

/** The channel messages of a room: who is known by which keys, calls and answers, what was seen already and what is passed on. */
export class Calls {
  readonly #options: CallsOptions;
  /** Newest first: we are the first, and were the others. */
  #keys: readonly [RoomKeys, ...RoomKeys[]];
  readonly #known = new Map<string, Known>();
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

  /** A wire to this member opened; its handshake is not signed, so it never takes the place of what a packet said. */
  meet(address: string, ek: Buffer): void {
    const known = this.#known.get(address);
    if (known === undefined) this.#remember(address, ek, 0);
    else if (known.sentAt === 0) known.ek = ek;
    // So that it knows of us too.
    this.#send(this.#signed({ y: 'p' }));
    this.#options.onSeen?.(address);
  }

  /** From now on we are somebody else; the others learn it at once. */
  renew(keys: RoomKeys): void {
    this.#keys = [keys, ...this.#keys.slice(0, MAX_FORMER)];
    this.#send(this.#signed({ y: 'p' }));
  }

  /** No wire leads to the member any more: what was asked of it directly is lost. */
  lose(address: string): void {
    for (const call of [...this.#open.values()]) if (call.address === address) call.fail(new PeerworkError('link-lost', address));
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
    const answer = (value: unknown) => {
      end();
      resolve(value);
    };
    const fail = (error: PeerworkError) => {
      end();
      reject(error);
    };
    const timer =
      timeoutMs === 0
        ? undefined
        : this.#options.clock.after(timeoutMs, () => fail(new PeerworkError('rpc-timeout', name)), { unref: true });
    this.#open.set(nonce, { address, answer, fail });
    this.#echoes.set(id, (from) => {
      if (echoAnswers && from === address) answer(undefined);
    });
    return { bytes: message.length, answered };
  }

  /** Just one call is open. */
  get awaitsOne(): boolean {
    return this.#open.size === 1;
  }

  receive(wire: Wire, message: Buffer): void {
    const id = messageId(message);
    this.#echoes.get(id)?.(wire.hello?.address);
    // What we sent ourselves has been seen too.
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
    // What was for us alone need not go on; all else may be for members that only we are linked to.
    if (packet === 'unreadable' || packet.body?.y === 'p' || packet.body?.y === 'm' || packet.body?.y === 'x') this.#passOn(wire, message);
    if (packet !== 'unreadable') this.#take(packet, reader);
  }

  close(): void {
    for (const call of [...this.#open.values()]) call.fail(new PeerworkError('closed'));
  }

  #take(packet: Packet, reader: RoomKeys): void {
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
      // Last in line to be forgotten.
      this.#known.delete(address);
      this.#known.set(address, known);
    }
    if (body?.y === 'r') void this.#serve(address, body, reader);
    if (body?.y === 'rr') this.#answer(address, body);
  }

  #answer(address: string, { rn, rr }: Extract<PacketBody, { y: 'rr' }>): void {
    const call = this.#open.get(Buffer.from(rn).toString('hex'));
    // Whoever else knows the nonce is not who was asked.
    if (call?.address === address) call.answer(parseJson(rr));
  }

  async #serve(address: string, { c, a, rn }: Extract<PacketBody, { y: 'r' }>, reader: RoomKeys): Promise<void> {
    const { serve, log } = this.#options;
    const known = this.#known.get(address);
    if (known === undefined || known.served >= MAX_SERVED) return;
    known.served += 1;
    try {
      const handler = serve.get(c);
      const answer = handler === undefined ? { error: 'No such API call.' } : await handler(address, parseJson(a));
      const rr = JSON.stringify(answer);
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

  /** By one wire to the member if there is one, else by all. False if nothing could be sent. */
  #send(message: Buffer, address?: string): boolean {
    const wires = [...this.#options.wires()];
    this.#seen.add(messageId(message));
    const direct = address === undefined ? undefined : wires.find((wire) => wire.hello?.address === address && wire.send(message));
    if (direct !== undefined) return true;
    return wires.filter((wire) => wire.send(message)).length > 0;
  }

  #passOn(from: Wire, message: Buffer): void {
    if (message.length > MAX_PASSED_BYTES) return;
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

/** The ids of messages that came already: everybody sends on what it sees, so most come more than once. */
class SeenMessages {
  readonly #clock: Clock;
  /** Oldest first. */
  readonly #seen = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** False if it was there already. */
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
