import { createSocket, type Socket } from 'node:dgram';
import { createRequire } from 'node:module';
import type { PeerConnection, RtcConfig } from 'node-datachannel';

/**
 * libdatachannel 0.24.5 leaves an early DTLS ClientHello in its queue until the next datagram arrives, which is OpenSSL's retransmission
 * after 1 s: a third of all connections lost that second. So this machine sends datagrams to the DTLS server itself: a UDP socket on
 * loopback is added as a candidate of the lowest priority, and from the moment ICE is connected until the connection is, it sends single
 * bytes. The library checks its queue and then drops those bytes.
 */
const kickAtMs = [2, 10, 25, 50, 100, 200, 400];

/** The library keeps the process alive after its last connection; it is shut down after this long without any. */
const idleMs = 200;

/**
 * State shared by all connections of the process, since node-datachannel is a singleton: shut down after the last connection, restarted
 * by the next.
 */
class NativeLibrary {
  readonly kicker = new Kicker();
  readonly #open = new Set<PeerConnection>();
  #module: typeof import('node-datachannel') | undefined;
  #idle: NodeJS.Timeout | undefined;

  get connections(): number {
    return this.#open.size;
  }

  /** Loaded lazily, so that a token can be checked where the native part is missing. */
  load(): typeof import('node-datachannel') {
    this.#module ??= createRequire(import.meta.url)('node-datachannel') as typeof import('node-datachannel');
    return this.#module;
  }

  connect(config: RtcConfig): PeerConnection {
    const connection = new (this.load().PeerConnection)('peer', config);
    this.#open.add(connection);
    clearTimeout(this.#idle);
    this.kicker.prepare();
    return connection;
  }

  disconnect(connection: PeerConnection): void {
    connection.close();
    if (!this.#open.delete(connection) || this.#open.size > 0) return;
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => this.#shutDown(), idleMs);
    this.#idle.unref();
  }

  #shutDown(): void {
    if (this.#open.size > 0) return;
    this.kicker.close();
    this.#module?.cleanup();
  }
}

class Kicker {
  #socket: Socket | undefined;
  #port: number | undefined;

  /** Called when a connection is made, long before the answer arrives, because binding takes a turn of the event loop. */
  prepare(): void {
    if (this.#socket !== undefined) return;
    const socket = createSocket('udp4');
    this.#socket = socket;
    socket.unref();
    socket.on('message', () => {}); // The library's connectivity checks; without a reply, this path never wins.
    socket.on('error', () => this.close()); // Without loopback there is no kick, only the old delay.
    socket.bind(0, '127.0.0.1', () => {
      if (this.#socket === socket) this.#port = socket.address().port;
    });
  }

  /** Returns the candidate line to add to a connection, once its remote description is set. */
  candidate(): string | undefined {
    if (this.#port === undefined) return undefined;
    return `candidate:kick 1 UDP 1 127.0.0.1 ${this.#port} typ host`;
  }

  /** Sends to the connection's own port until it is connected or closed. */
  start(localPort: number, isOver: () => boolean): void {
    for (const delayMs of kickAtMs) {
      setTimeout(() => {
        if (!isOver() && this.#port !== undefined) this.#socket?.send(Uint8Array.of(0), localPort, '127.0.0.1', () => {});
      }, delayMs).unref();
    }
  }

  close(): void {
    this.#port = undefined;
    this.#socket?.close();
    this.#socket = undefined;
  }
}

export const library = new NativeLibrary();
