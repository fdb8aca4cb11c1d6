import { randomBytes } from 'node:crypto';
import { createServer, type Server, type Socket } from 'node:net';
import type { Clock, Timer } from '../../../clock.js';
import type { Log } from '../../../log.js';
import { QueueXecError } from '../errors.js';
import { type Call, type CallOptions, Calls, type RoomHandler } from './calls.js';
import { Dht, type DhtOptions } from './dht.js';
import { Dialer } from './dialer.js';
import { Budget } from './frames.js';
import { infoHashOf, RoomKeys } from './keys.js';
import { Lsd, type LsdOptions } from './lsd.js';
import { type Hello, Wire } from './wire.js';

const MAX_WIRES = 1_024;
const MAX_WIRES_OF_A_PEER = 2;
/** Limit for incomplete frames, over all connections. */
const MAX_BUFFERED_BYTES = 128 * 1024 * 1024;
/** Intervals of announcing the room: seek while no member is connected, announce otherwise. */
const SEEK_MS = 15_000;
const ANNOUNCE_MS = 300_000;
const DHT_SEEK_MS = 120_000;
const DHT_ANNOUNCE_MS = 900_000;

export interface PeerAt {
  readonly host: string;
  readonly port: number;
}

/** How the members of a room find each other. */
export interface Meeting {
  // generated from meeting by `npm run generate`
  /** Address where other members of the room may connect to this one. Default: all addresses, a free port. */
  readonly listen?: { readonly host?: string; readonly port?: number };
  /** Room members to connect to directly, in addition to those discovered. Default: none. */
  readonly peers?: readonly PeerAt[];
  /** Discover members of the room in the local network by multicast. `false` disables it. Default: enabled. */
  readonly lsd?: LsdOptions | false;
  /**
   * Discover members of the room through BitTorrent's DHT, which makes this machine's address visible to everyone there. `false` disables it.
   * Default: enabled, with the public nodes.
   */
  readonly dht?: DhtOptions | false;
  // end
}

export interface RoomOptions extends Meeting {
  readonly token: string;
  readonly serve: ReadonlyMap<string, RoomHandler>;
  readonly clock: Clock;
  readonly log: Log;
  readonly keys?: RoomKeys;
  /** Called when a member is there, possibly again after it was gone. */
  readonly onSeen?: (address: string) => void;
  /** Called when the last connection to a member is gone. */
  readonly onGone?: (address: string) => void;
  /** Called when the clocks of this machine and a member differ so much that messages are dropped; in ms, positive if ours is behind. */
  readonly onSkew?: (skewMs: number) => void;
}

/** All members with the same token: finds them, stays connected to them, calls them and serves their calls. No member is trusted. */
export class Room {
  readonly #options: RoomOptions;
  readonly #infoHash: Buffer;
  readonly #peerId = Buffer.concat([Buffer.from('-PW0100-'), randomBytes(12)]);
  readonly #budget = new Budget(MAX_BUFFERED_BYTES);
  readonly #wires = new Set<Wire>();
  readonly #calls: Calls;
  #keys: RoomKeys;
  readonly #dialer: Dialer;
  readonly #server: Server;
  #lsd: Lsd | undefined;
  #dht: Dht | undefined;
  #seeking: Timer | undefined;
  #announcedAt = 0;
  #dhtAnnouncedAt = 0;
  #port = 0;
  #closed = false;

  constructor(options: RoomOptions) {
    this.#options = options;
    const { token, clock, listen } = options;
    this.#keys = options.keys ?? new RoomKeys();
    this.#infoHash = infoHashOf(token);
    const { serve, log, onSeen, onSkew } = options;
    this.#calls = new Calls({
      ...{ token, serve, clock, log, keys: this.#keys, wires: () => this.#wires },
      ...(onSeen !== undefined && { onSeen }),
      ...(onSkew !== undefined && { onSkew }),
    });
    const host = listen?.host;
    this.#dialer = new Dialer({
      clock,
      // A room that listens on loopback only must not connect beyond it either.
      localAddress: host !== undefined && /^127\./.test(host) ? host : undefined,
      onSocket: (socket) => this.#attach(socket, true),
    });
    this.#server = createServer((socket) => this.#attach(socket, false));
  }

  get address(): string {
    return this.#keys.address;
  }

  /** Port that the room listens on; 0 before `start`. */
  get port(): number {
    return this.#port;
  }

  /** Rejects with `queue-xec-listen` if it cannot listen. */
  async start(): Promise<void> {
    const { listen = {}, peers = [], lsd = {}, dht = {}, log } = this.#options;
    await this.#listen(listen.host, listen.port ?? 0);
    for (const { host, port } of peers) this.#dialer.add(host, port, true);
    const found = (host: string, port: number) => this.#dialer.add(host, port, false);
    if (lsd !== false) this.#lsd = new Lsd(lsd, this.#infoHash.toString('hex'), `peerwork-${this.#peerId.toString('hex')}`, log, found);
    if (dht !== false) this.#dht = new Dht(dht, this.#infoHash, log, found);
    await Promise.all([this.#lsd?.start(), this.#dht?.start()]);
    this.#seek();
  }

  /** Calls a member. */
  call(address: string, name: string, args: unknown, options: CallOptions): Call {
    return this.#calls.call(address, name, args, options);
  }

  /** Takes new keys and thus a new address: to the others this is a new member. Messages sealed for the old keys can still be read. */
  renew(): void {
    this.#keys = new RoomKeys();
    this.#calls.renew(this.#keys);
  }

  /** Returns the addresses of the connected members. */
  members(): string[] {
    return [...new Set([...this.#wires].flatMap(({ hello }) => (hello === undefined ? [] : [hello.address])))];
  }

  /** Returns the network address of a member. */
  whereIs(address: string): PeerAt | undefined {
    return this.#wiresOf(address)[0]?.remote;
  }

  /** Closes the connections to a member. */
  hangUp(address: string): void {
    for (const wire of this.#wiresOf(address)) wire.close('ended here');
  }

  /** Replaces the connections to a member: dialled ones are dialled again at once, and a new announce lets the member dial the others. */
  renewLink(address: string): void {
    for (const wire of this.#wiresOf(address)) {
      if (wire.outgoing) this.#dialer.renew(wire.remote.host, wire.remote.port);
      wire.close('ended here, for a new one');
    }
    this.#lsd?.announce(this.#port);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#seeking?.cancel();
    this.#dialer.close();
    this.#lsd?.close();
    for (const wire of [...this.#wires]) wire.close('the room is left');
    this.#calls.close();
    await this.#dht?.close();
    if (this.#server.listening) await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #listen(host: string | undefined, port: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', (cause) => reject(new QueueXecError('queue-xec-listen', `${host ?? '*'}:${port}`, { cause })));
      this.#server.listen({ port, ...(host !== undefined && { host }) }, () => {
        this.#server.on('error', (error) =>
          this.#options.log.warn('a link could not be accepted', {
            error,
            hint: 'Raise the limit on open files (`ulimit -n 65536`, or the service’s `LimitNOFILE=`), or run fewer programs.',
          }),
        );
        const at = this.#server.address();
        this.#port = typeof at === 'object' && at !== null ? at.port : port;
        resolve();
      });
    });
  }

  #attach(socket: Socket, outgoing: boolean): void {
    if (this.#closed || this.#wires.size >= MAX_WIRES) {
      socket.destroy();
      return;
    }
    const { token, clock } = this.#options;
    const wire: Wire = new Wire(
      {
        socket,
        infoHash: this.#infoHash,
        peerId: this.#peerId,
        hello: { id: token, pk: this.#keys.pk, ek: this.#keys.ek },
        budget: this.#budget,
        clock,
        awaits: () => this.#calls.awaitsOne,
        onOpen: (hello) => this.#opened(wire, hello),
        onMessage: (message) => this.#calls.receive(wire, message),
        onClose: (reason) => this.#lost(wire, reason),
      },
      outgoing,
    );
    this.#wires.add(wire);
  }

  #opened(wire: Wire, { address, ek }: Hello): void {
    const { host, port } = wire.remote;
    if (wire.outgoing) this.#dialer.proved(host, port);
    if (this.#wiresOf(address).length > MAX_WIRES_OF_A_PEER) {
      if (wire.outgoing) this.#dialer.forget(host, port);
      wire.close('there are wires enough to it');
      return;
    }
    this.#options.log.debug('a member is linked', { address, host });
    this.#calls.meet(address, ek);
  }

  #lost(wire: Wire, reason: string): void {
    this.#wires.delete(wire);
    const { hello } = wire;
    const { log, onGone } = this.#options;
    log.debug('a link ended', { address: hello?.address, reason });
    if (reason === 'it is ourselves' && wire.outgoing) this.#dialer.forget(wire.remote.host, wire.remote.port);
    if (hello === undefined || this.#wiresOf(hello.address).length > 0) return;
    this.#calls.lose(hello.address);
    onGone?.(hello.address);
  }

  #wiresOf(address: string): Wire[] {
    return [...this.#wires].filter(({ hello }) => hello?.address === address);
  }

  #seek(): void {
    const { clock } = this.#options;
    const now = clock.now();
    const alone = this.members().length === 0;
    if (now - this.#announcedAt >= (alone ? SEEK_MS : ANNOUNCE_MS)) {
      this.#announcedAt = now;
      this.#lsd?.announce(this.#port);
    }
    if (now - this.#dhtAnnouncedAt >= (alone ? DHT_SEEK_MS : DHT_ANNOUNCE_MS)) {
      this.#dhtAnnouncedAt = now;
      this.#dht?.announce(this.#port);
    }
    this.#seeking = clock.after(SEEK_MS, () => this.#seek(), { unref: true });
  }
}
