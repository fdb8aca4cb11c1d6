import { createSocket } from 'node:dgram';
import { connect as connectTcp, isIP, isIPv6, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { IceServer } from './ice.js';
import { TurnStream } from './turn-stream.js';

/** The library refreshes an allocation every 15 s or so: a flow that is silent for longer belongs to a closed connection. */
const idleMs = 90_000;
/** Datagrams queued while the connection to the server opens; more would be retransmissions. */
const maxQueued = 32;
/** Beyond it datagrams are dropped, as on any congested link: a sender that is too fast has to notice. */
const maxBufferedBytes = 1024 * 1024;

/** The connection of one flow to its TURN server. `closed` is called once, whichever side ended it. */
export interface Upstream {
  /** Sends a whole TURN message; drops it if the connection is congested. */
  send(message: Uint8Array): void;
  close(): void;
}

export interface UpstreamEvents {
  readonly received: (message: Uint8Array) => void;
  readonly closed: () => void;
}

export function openUpstream(server: IceServer, ca: string | undefined, events: UpstreamEvents): Upstream {
  return server.transport === 'udp' ? overUdp(server, events) : overStream(server, ca, events);
}

function overUdp({ host, port }: IceServer, { received, closed }: UpstreamEvents): Upstream {
  const socket = createSocket(isIPv6(host) ? 'udp6' : 'udp4');
  const queued: Uint8Array[] = [];
  let ready = false;
  let over = false;
  const close = () => {
    if (over) return;
    over = true;
    clearTimeout(idle);
    socket.close();
    closed();
  };
  const idle = setTimeout(close, idleMs).unref();
  // The library retransmits its request, which opens a new flow.
  socket.on('error', close);
  socket.on('message', (message) => {
    idle.refresh();
    received(message);
  });
  socket.connect(port, host, () => {
    ready = true;
    for (const message of queued.splice(0)) socket.send(message, () => {});
  });
  socket.unref();
  return {
    send(message) {
      if (over) return;
      idle.refresh();
      if (ready) socket.send(message, () => {});
      else if (queued.length < maxQueued) queued.push(message);
    },
    close,
  };
}

function overStream(server: IceServer, ca: string | undefined, { received, closed }: UpstreamEvents): Upstream {
  const queued: Uint8Array[] = [];
  let ready = false;
  const socket = connectStream(server, ca, () => {
    ready = true;
    for (const framed of queued.splice(0)) socket.write(framed);
  });
  const stream = new TurnStream(received);
  socket.unref();
  socket.setNoDelay(true);
  socket.setTimeout(idleMs, () => socket.destroy());
  socket.on('data', (bytes) => {
    if (!stream.push(bytes)) socket.destroy();
  });
  // The library retransmits its request, which opens a new flow.
  socket.on('error', () => socket.destroy());
  socket.on('end', () => socket.destroy());
  socket.on('close', closed);
  return {
    send(message) {
      const framed = TurnStream.frame(message);
      if (framed === undefined) return;
      if (!ready) {
        if (queued.length < maxQueued) queued.push(framed);
      } else if (socket.writableLength < maxBufferedBytes) socket.write(framed);
    },
    close: () => socket.destroy(),
  };
}

function connectStream({ host, port, transport }: IceServer, ca: string | undefined, connected: () => void): Socket {
  if (transport !== 'tls') return connectTcp({ host, port }, connected);
  return connectTls({ host, port, ...(isIP(host) === 0 && { servername: host }), ...(ca !== undefined && { ca }) }, connected);
}
