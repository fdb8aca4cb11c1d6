import { createSocket, type RemoteInfo, type Socket as UdpSocket } from 'node:dgram';
import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { IceServer } from './ice.js';
import { TurnStream } from './turn-stream.js';

/** The library keeps an allocation alive every 15 s or so: a flow that is silent for longer belongs to a closed connection. */
const idleMs = 90_000;
/** Datagrams kept while TCP and TLS connect; more would be retransmissions. */
const maxQueued = 32;
/** Above, datagrams are lost, as on any full line: whoever sends too fast has to notice. */
const maxBufferedBytes = 1024 * 1024;
/** Connections of one member at the same time; each WebRTC connection has one. */
const maxFlows = 1024;

export interface TurnBridgeOptions {
  /** PEM certificates to trust in place of the system's; for private TURN servers. Verification cannot be switched off. */
  readonly ca?: string | undefined;
}

interface Flow {
  readonly socket: Socket;
  readonly queued: Uint8Array[];
  ready: boolean;
}

/**
 * A TURN server on a UDP port of loopback that is really one reached by TCP or TLS: libjuice speaks TURN over UDP only.
 * Each sender (one WebRTC connection) gets its own connection to the server, because TURN tells clients apart by it.
 */
export class TurnBridge {
  readonly #server: IceServer;
  readonly #options: TurnBridgeOptions;
  readonly #udp: UdpSocket = createSocket('udp4');
  /** By the sender's port; all are on loopback. */
  readonly #flows = new Map<number, Flow>();
  #closed = false;
  /** The UDP port on 127.0.0.1. Rejects if loopback cannot be bound. */
  readonly port: Promise<number>;

  constructor(server: IceServer, options: TurnBridgeOptions = {}) {
    this.#server = server;
    this.#options = options;
    this.port = new Promise((resolve, reject) => {
      this.#udp.once('error', reject);
      this.#udp.bind(0, '127.0.0.1', () => resolve(this.#udp.address().port));
    });
    this.port.catch(() => {});
    this.#udp.on('error', () => {}); // a send to a port that has closed
    this.#udp.on('message', (datagram, sender) => this.#outward(datagram, sender));
    this.#udp.unref();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const flow of this.#flows.values()) flow.socket.destroy();
    this.#flows.clear();
    this.#udp.close();
  }

  #outward(datagram: Uint8Array, sender: RemoteInfo): void {
    const framed = TurnStream.frame(datagram);
    if (framed === undefined || this.#closed) return;
    const flow = this.#flows.get(sender.port) ?? this.#open(sender.port);
    if (flow === undefined) return;
    if (!flow.ready) {
      if (flow.queued.length < maxQueued) flow.queued.push(framed);
    } else if (flow.socket.writableLength < maxBufferedBytes) flow.socket.write(framed);
  }

  #open(port: number): Flow | undefined {
    if (this.#flows.size >= maxFlows) return undefined;
    const socket = this.#connect(() => {
      flow.ready = true;
      for (const message of flow.queued.splice(0)) socket.write(message);
    });
    const flow: Flow = { socket, queued: [], ready: false };
    this.#flows.set(port, flow);
    const stream = new TurnStream((message) => {
      if (!this.#closed) this.#udp.send(message, port, '127.0.0.1', () => {});
    });
    socket.unref();
    socket.setNoDelay(true);
    socket.setTimeout(idleMs, () => socket.destroy());
    socket.on('data', (bytes) => {
      if (!stream.push(bytes)) socket.destroy();
    });
    // The library sends its request again, which opens a new flow.
    socket.on('error', () => socket.destroy());
    socket.on('end', () => socket.destroy());
    socket.on('close', () => {
      if (this.#flows.get(port) === flow) this.#flows.delete(port);
    });
    return flow;
  }

  #connect(connected: () => void): Socket {
    const { host, port, transport } = this.#server;
    if (transport !== 'tls') return connectTcp({ host, port }, connected);
    const { ca } = this.#options;
    return connectTls({ host, port, ...(isIP(host) === 0 && { servername: host }), ...(ca !== undefined && { ca }) }, connected);
  }
}
