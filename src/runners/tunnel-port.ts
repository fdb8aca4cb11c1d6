import { once, setMaxListeners } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { asPeerworkError, PeerworkError } from '../errors.js';
import type { Tunnel } from '../job/source.js';
import { joinStreams, resetStream } from '../kit/join-streams.js';

/** The limit that a Master sets for a job. */
const MAX_CONNECTIONS = 64;

export interface TunnelPortOptions {
  /** A unix socket instead of a port on 127.0.0.1: its folder decides who may use it. */
  readonly path?: string;
  /** Called if a connection could not be opened, or broke: the program only sees that it was closed. */
  readonly onError?: (error: PeerworkError) => void;
}

/** The local end of a tunnel for a program, open until `close`. */
export interface TunnelPort {
  /** Empty with a unix socket. */
  readonly host: string;
  /** 0 with a unix socket. */
  readonly port: number;
  /** Ends all connections. */
  close(): Promise<void>;
}

/** Listens during the run, and pipes each connection through the tunnel. Rejects if it cannot listen. */
export async function openTunnelPort(tunnel: Tunnel, { path, onError = () => {} }: TunnelPortOptions = {}): Promise<TunnelPort> {
  const sockets = new Set<Socket>();
  const ending = new AbortController();
  // Every connection listens to this signal.
  setMaxListeners(0, ending.signal);
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    pipe(socket, tunnel, ending.signal).catch((error: unknown) => {
      resetStream(socket, error instanceof Error ? error : new PeerworkError('tunnel-broken'));
      if (!ending.signal.aborted) onError(asPeerworkError(error, 'tunnel-broken'));
    });
  });
  server.maxConnections = MAX_CONNECTIONS;
  if (path === undefined) server.listen(0, '127.0.0.1');
  else server.listen(path);
  await once(server, 'listening');
  const address = server.address();
  const { address: host, port } = typeof address === 'object' && address !== null ? address : NOWHERE;
  return {
    host,
    port,
    async close() {
      ending.abort();
      const closed = once(server, 'close');
      server.close();
      for (const socket of sockets) resetStream(socket, new PeerworkError('tunnel-lease-ended'));
      await closed;
    },
  };
}

const NOWHERE: AddressInfo = { address: '', port: 0, family: '' };

/** Pipes both directions, each to its own end. Rejects if one breaks, which resets the other. */
async function pipe(socket: Socket, tunnel: Tunnel, signal: AbortSignal): Promise<void> {
  socket.on('error', () => {});
  const remote = await tunnel.open(signal);
  let programError: unknown;
  socket.once('error', (error) => {
    if (!remote.destroyed) programError = error;
  });
  try {
    await joinStreams(remote, socket, { signal });
  } catch (error) {
    // A program that disconnects is not a fault of the tunnel.
    if (error !== programError) throw error;
  }
}
