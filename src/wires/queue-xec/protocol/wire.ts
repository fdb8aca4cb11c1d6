import type { Socket } from 'node:net';
import type { Clock, Timer } from '../../../clock.js';
import { type Bendict, bytesIn, decodeDict, type Encodable, encode, isDict, WireFault } from './bencode.js';
import { type Budget, type ExtendedMessage, extendedFrame, FrameReader, handshake, KEEP_ALIVE, readHandshake } from './frames.js';
import { addressOf } from './keys.js';
import { keyIn } from './packet.js';

/** Limit for one channel message: a result of 8 MB is 16 MB in hexadecimal, and the files of a task are a single message, too. */
export const MAX_FRAME_BYTES = 32 * 1024 * 1024;
const CONGESTED_BYTES = 1024 * 1024;
const OPEN_MS = 10_000;
const KEEP_ALIVE_MS = 55_000;
/** Two keep-alives of the other side and some slack: it sends one every 55 s. */
const SILENCE_MS = 150_000;
const CHANNEL = 'bo_channel';
const OWN_EXTENSION = 4;
const HELLO = 0;
/** Rate limit per peer: messages read per millisecond, and the burst allowed; excess messages are dropped. */
const RATE_PER_MS = 1;
const BURST = 2_000;

/** How the other side identifies itself; nothing of it is signed. */
export interface Hello {
  readonly address: string;
  readonly ek: Buffer;
}

export interface WireOptions {
  readonly socket: Socket;
  readonly infoHash: Buffer;
  readonly peerId: Buffer;
  /** Fields of our extended handshake besides the number of the channel. */
  readonly hello: { readonly id: string; readonly pk: string; readonly ek: string };
  readonly budget: Budget;
  readonly clock: Clock;
  /** Whether exactly one reply is awaited and nothing is sent meanwhile. */
  readonly awaits: () => boolean;
  readonly onOpen: (hello: Hello) => void;
  readonly onMessage: (message: Buffer) => void;
  readonly onClose: (reason: string) => void;
}

/**
 * One BitTorrent connection of a room. States: opening → open → closed. `opening` ends with the other side's extended handshake;
 * connections to a peer that is not a member (no channel, another room, ourselves) or that violates the protocol are closed.
 */
export class Wire {
  readonly outgoing: boolean;
  readonly #options: WireOptions;
  readonly #reader: FrameReader;
  readonly #opening: Timer;
  #keepAlive: Timer | undefined;
  #hello: Hello | undefined;
  #extension = 0;
  #heardAt: number;
  #allowance = BURST;
  #allowanceAt: number;
  #closed = false;

  constructor(options: WireOptions, outgoing: boolean) {
    this.#options = options;
    this.outgoing = outgoing;
    const { socket, clock, infoHash, peerId, budget } = options;
    this.#heardAt = clock.now();
    this.#allowanceAt = this.#heardAt;
    this.#reader = new FrameReader(budget, MAX_FRAME_BYTES);
    this.#opening = clock.after(OPEN_MS, () => this.close('no handshake'), { unref: true });
    socket.setNoDelay(true);
    socket.on('data', (chunk) => this.#receive(chunk));
    socket.on('error', () => {});
    socket.once('close', () => this.close('the link was lost'));
    socket.write(handshake(infoHash, peerId));
    this.#beat();
  }

  /** Undefined while opening. */
  get hello(): Hello | undefined {
    return this.#hello;
  }

  get remote(): { readonly host: string; readonly port: number } {
    const { remoteAddress = '', remotePort = 0 } = this.#options.socket;
    return { host: remoteAddress.replace(/^::ffff:/, ''), port: remotePort };
  }

  /** Whether the other side reads more slowly than we write. */
  get congested(): boolean {
    return this.#options.socket.writableLength > CONGESTED_BYTES;
  }

  /** Returns false if the connection is not open. */
  send(message: Uint8Array): boolean {
    const { socket } = this.#options;
    if (this.#hello === undefined || this.#closed) return false;
    socket.write(extendedFrame(this.#extension, message));
    // A peer that never reads must not fill our memory.
    if (socket.writableLength > 2 * MAX_FRAME_BYTES) this.close('it does not read');
    return !this.#closed;
  }

  close(reason: string): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#opening.cancel();
    this.#keepAlive?.cancel();
    this.#options.socket.destroy();
    this.#reader.close();
    this.#options.onClose(reason);
  }

  #receive(chunk: Uint8Array): void {
    if (this.#closed) return;
    this.#heardAt = this.#options.clock.now();
    try {
      for (const piece of this.#reader.push(chunk)) {
        if (this.#closed) return;
        if (Buffer.isBuffer(piece)) this.#onHandshake(piece);
        else this.#onMessage(piece);
      }
      // The real implementation writes the header of a message separately and leaves Nagle's algorithm on, so the rest waits for our
      // acknowledgement. The system delays that by 40 ms unless there is data to carry it.
      if (!this.#closed && this.#hello !== undefined && this.#reader.isInside && this.#options.awaits())
        this.#options.socket.write(KEEP_ALIVE);
    } catch (fault) {
      this.close(fault instanceof WireFault ? fault.message : String(fault));
    }
  }

  #onHandshake(bytes: Buffer): void {
    const { infoHash, peerId, hello, socket } = this.#options;
    if (readHandshake(bytes, infoHash).equals(peerId)) throw new WireFault('it is ourselves');
    const fields: Encodable = { m: { [CHANNEL]: OWN_EXTENSION }, ...hello };
    socket.write(extendedFrame(HELLO, encode(fields)));
  }

  #onMessage({ extension, payload }: ExtendedMessage): void {
    if (extension === HELLO) this.#onHello(decodeDict(payload));
    else if (extension === OWN_EXTENSION && this.#hello !== undefined && this.#withinRate()) this.#options.onMessage(payload);
  }

  /** A second handshake may change the number of the channel, but not the peer's identity. */
  #onHello(fields: Bendict): void {
    const extensions = fields.get('m');
    const extension = isDict(extensions) ? extensions.get(CHANNEL) : undefined;
    if (typeof extension !== 'number' || extension < 1 || extension > 255) throw new WireFault(`it has no ${CHANNEL}`);
    const hello = { address: addressOf(keyIn(bytesIn(fields, 'pk'))), ek: keyIn(bytesIn(fields, 'ek')) };
    this.#extension = extension;
    if (this.#hello !== undefined) return;
    this.#hello = hello;
    this.#opening.cancel();
    this.#options.onOpen(hello);
  }

  #withinRate(): boolean {
    const now = this.#options.clock.now();
    this.#allowance = Math.min(BURST, this.#allowance + (now - this.#allowanceAt) * RATE_PER_MS);
    this.#allowanceAt = now;
    if (this.#allowance < 1) return false;
    this.#allowance -= 1;
    return true;
  }

  #beat(): void {
    const { clock, socket } = this.#options;
    this.#keepAlive = clock.after(
      KEEP_ALIVE_MS,
      () => {
        if (clock.now() - this.#heardAt > SILENCE_MS) this.close('it is silent');
        if (this.#closed) return;
        socket.write(KEEP_ALIVE);
        this.#beat();
      },
      { unref: true },
    );
  }
}
