import { EventEmitter } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type RawData, WebSocket, WebSocketServer } from 'ws';
import { systemClock } from '../clock.js';
import { optionalPackage } from '../kit/optional-package.js';
import { TokenBucket } from '../kit/token-bucket.js';
import { whyMalformed } from './rendezvous/tracker-rules.js';

const { default: Server } = await optionalPackage('bittorrent-tracker/server.js');

export interface TrackerServerOptions {
  /** How often each socket is pinged; one that has not responded by the next ping is terminated. Default 15 s. */
  readonly pingMs?: number;
  /** Concurrent sockets; further ones are refused. Default 20,000. */
  readonly maxSockets?: number;
}

const PING_MS = 15_000;
const MAX_SOCKETS = 20_000;
/** Room for 82 offers, the most that the protocol's server forwards. */
const MAX_MESSAGE_BYTES = 256 * 1024;
const MAX_UNSENT_BYTES = 1024 * 1024;
const MAX_PEERS_PER_SWARM = 10_000;
const MESSAGES_BURST = 500;
const MESSAGES_PER_SECOND = 100;

/**
 * A WebSocket tracker for LANs, tests and the demo: bittorrent-tracker's server with a guard in front. The library alone crashes on some
 * messages (offers that are not objects, a scrape of a number), reveals all info hashes to anybody, keeps dead sockets for 20 minutes and
 * empty swarms indefinitely. So each message is validated before the library sees it, sockets are pinged, and empty swarms are removed.
 */
export class TrackerServer {
  readonly #pingMs: number;
  readonly #maxSockets: number;
  readonly #tracker = new Server({ http: false, udp: false, ws: false, stats: false, peersCacheLength: MAX_PEERS_PER_SWARM });
  readonly #http = createServer((_request, response) => response.writeHead(426).end('This is a WebSocket tracker.\n'));
  readonly #sockets = new WebSocketServer({ server: this.#http, maxPayload: MAX_MESSAGE_BYTES, perMessageDeflate: false });
  readonly #alive = new WeakSet<WebSocket>();
  #ticker: NodeJS.Timeout | undefined;
  #host = '';
  #closing: Promise<void> | undefined;

  constructor(options: TrackerServerOptions = {}) {
    this.#pingMs = options.pingMs ?? PING_MS;
    this.#maxSockets = options.maxSockets ?? MAX_SOCKETS;
    this.#tracker.on('warning', () => {});
    this.#tracker.on('error', () => {});
    this.#sockets.on('connection', (socket, request) => this.#receive(socket, request));
    // Errors of the HTTP server are emitted here too; `start` rejects with them.
    this.#sockets.on('error', () => {});
  }

  /** Listens; port 0 picks a free one. Rejects if the port is in use. */
  async start(port = 0, host = '127.0.0.1'): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#http.once('error', reject);
      this.#http.listen(port, host, () => {
        this.#http.off('error', reject);
        resolve();
      });
    });
    this.#host = host;
    this.#ticker = setInterval(() => this.#tick(), this.#pingMs);
    this.#ticker.unref();
  }

  get port(): number {
    return (this.#http.address() as AddressInfo).port;
  }

  /** URL for peers on this machine. */
  get url(): string {
    const host = this.#host === '0.0.0.0' || this.#host === '::' ? '127.0.0.1' : this.#host;
    return `ws://${host.includes(':') ? `[${host}]` : host}:${this.port}`;
  }

  /** Number of peers in all swarms; one that waits in several counts several times. */
  get peers(): number {
    return Object.values(this.#tracker.torrents).reduce((sum, { peers }) => sum + peers.length, 0);
  }

  close(): Promise<void> {
    this.#closing ??= new Promise((resolve) => {
      clearInterval(this.#ticker);
      this.#tracker.close();
      for (const socket of this.#sockets.clients) socket.terminate();
      this.#sockets.close();
      this.#http.close(() => resolve());
    });
    return this.#closing;
  }

  #receive(socket: WebSocket, request: IncomingMessage): void {
    if (this.#sockets.clients.size > this.#maxSockets) {
      socket.close(1013);
      return;
    }
    this.#alive.add(socket);
    socket.on('pong', () => this.#alive.add(socket));
    this.#tracker.onWebSocketConnection(new GuardedSocket(socket, request));
  }

  #tick(): void {
    for (const socket of this.#sockets.clients) {
      if (!this.#alive.delete(socket)) socket.terminate();
      else socket.ping(() => {});
    }
    const { torrents } = this.#tracker;
    for (const [infoHash, { peers }] of Object.entries(torrents)) if (peers.length === 0) delete torrents[infoHash];
  }
}

/** A socket as the library sees it: only well-formed messages get through. */
class GuardedSocket extends EventEmitter {
  /** The library reads the address from here and then sets it to null. */
  upgradeReq: IncomingMessage | null;
  readonly #socket: WebSocket;
  readonly #rate = new TokenBucket({ burst: MESSAGES_BURST, perSecond: MESSAGES_PER_SECOND }, systemClock.now());
  readonly #swarms = new Set<string>();
  #peerId: string | undefined;

  constructor(socket: WebSocket, request: IncomingMessage) {
    super();
    this.#socket = socket;
    this.upgradeReq = request;
    socket.on('message', (data) => this.#receive(data));
    socket.on('error', () => socket.terminate());
    socket.on('close', () => this.emit('close'));
  }

  send(text: string, sent?: (error?: Error) => void): void {
    if (this.#socket.readyState !== WebSocket.OPEN) return;
    if (this.#socket.bufferedAmount > MAX_UNSENT_BYTES) this.#socket.terminate();
    else this.#socket.send(text, sent);
  }

  #receive(data: RawData): void {
    if (!this.#rate.take(1, systemClock.now())) {
      this.#socket.close(1008, 'too many messages');
      return;
    }
    const text = data.toString();
    const why = whyMalformed(text, (peerId) => (this.#peerId ??= peerId), this.#swarms);
    if (why) this.send(JSON.stringify({ 'failure reason': why }));
    else this.emit('message', text);
  }
}
