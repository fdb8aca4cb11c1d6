import { createSocket, type RemoteInfo, type Socket as UdpSocket } from 'node:dgram';
import { helloGate } from './hello-gate.node.js';
import type { IceServer } from './ice.js';
import { openUpstream, type Upstream } from './turn-upstream.node.js';

/** Concurrent connections of one member; each WebRTC connection has one flow. */
const maxFlows = 1024;

export interface TurnBridgeOptions {
  /** PEM certificates to trust instead of the system's, for private TURN servers. Verification cannot be switched off. */
  readonly ca?: string | undefined;
}

/**
 * Exposes a remote TURN server, reached by UDP, TCP or TLS, on a UDP port of loopback: libjuice speaks TURN over UDP only, and everything
 * that arrives through a relay must pass the HelloGate. Each sender (one WebRTC connection) gets its own flow to the server, because TURN
 * identifies clients by it.
 */
export class TurnBridge {
  readonly #server: IceServer;
  readonly #options: TurnBridgeOptions;
  readonly #udp: UdpSocket = createSocket('udp4');
  /** Flows by the sender's port; all senders are on loopback. */
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
    this.#udp.on('error', () => {}); // A send to a port that has closed.
    this.#udp.on('message', (datagram, sender) => this.#sendToServer(datagram, sender));
    this.#udp.unref();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const flow of [...this.#flows.values()]) flow.close();
    this.#flows.clear();
    this.#udp.close();
  }

  #sendToServer(datagram: Uint8Array, { port }: RemoteInfo): void {
    if (!this.#closed) (this.#flows.get(port) ?? this.#open(port))?.send(datagram);
  }

  #open(port: number): Upstream | undefined {
    if (this.#flows.size >= maxFlows) return undefined;
    const flow = openUpstream(this.#server, this.#options.ca, {
      received: (message) => helloGate.pass(port, message, () => this.#sendToClient(message, port)),
      closed: () => {
        if (this.#flows.get(port) === flow) this.#flows.delete(port);
      },
    });
    this.#flows.set(port, flow);
    return flow;
  }

  #sendToClient(message: Uint8Array, port: number): void {
    if (!this.#closed) this.#udp.send(message, port, '127.0.0.1', () => {});
  }
}
