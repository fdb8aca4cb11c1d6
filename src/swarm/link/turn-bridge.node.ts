import { createSocket, type RemoteInfo, type Socket as UdpSocket } from 'node:dgram';
import { helloGate } from './hello-gate.node.js';
import type { IceServer } from './ice.js';
import { openUpstream, type Upstream } from './turn-upstream.node.js';

/** Connections of one member at the same time; each WebRTC connection has one. */
const maxFlows = 1024;

export interface TurnBridgeOptions {
  /** PEM certificates to trust in place of the system's; for private TURN servers. Verification cannot be switched off. */
  readonly ca?: string | undefined;
}

/**
 * A TURN server on a UDP port of loopback that is really one somewhere else, reached by UDP, TCP or TLS: libjuice speaks TURN over
 * UDP only, and all that comes through a relay must pass the HelloGate. Each sender (one WebRTC connection) gets its own way to
 * the server, because TURN tells clients apart by it.
 */
export class TurnBridge {
  readonly #server: IceServer;
  readonly #options: TurnBridgeOptions;
  readonly #udp: UdpSocket = createSocket('udp4');
  /** By the sender's port; all are on loopback. */
  readonly #flows = new Map<number, Upstream>();
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
    for (const flow of [...this.#flows.values()]) flow.close();
    this.#flows.clear();
    this.#udp.close();
  }

  #outward(datagram: Uint8Array, { port }: RemoteInfo): void {
    if (!this.#closed) (this.#flows.get(port) ?? this.#open(port))?.send(datagram);
  }

  #open(port: number): Upstream | undefined {
    if (this.#flows.size >= maxFlows) return undefined;
    const flow = openUpstream(this.#server, this.#options.ca, {
      received: (message) => helloGate.pass(port, message, () => this.#inward(message, port)),
      closed: () => {
        if (this.#flows.get(port) === flow) this.#flows.delete(port);
      },
    });
    this.#flows.set(port, flow);
    return flow;
  }

  #inward(message: Uint8Array, port: number): void {
    if (!this.#closed) this.#udp.send(message, port, '127.0.0.1', () => {});
  }
}
