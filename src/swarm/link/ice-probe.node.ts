import { randomBytes } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { lookup } from 'node:dns/promises';
import { connect } from 'node:net';
import type { IceServer } from './ice.js';

const sendAtMs = [0, 200, 500];

/**
 * Sends each UDP server a STUN binding request and calls `answered` for each that replies, until the returned function is called. TURN
 * servers reply to such a request too.
 */
export function askUdp(servers: readonly IceServer[], answered: (server: IceServer) => void): () => void {
  const sockets = new Map<number, Socket>();
  const timers: NodeJS.Timeout[] = [];
  const pending = new Map<string, IceServer>();
  let stopped = false;
  const socketOf = (family: number): Socket => {
    const known = sockets.get(family);
    if (known !== undefined) return known;
    const socket = createSocket(family === 6 ? 'udp6' : 'udp4');
    sockets.set(family, socket);
    socket.on('error', () => {}); // No such network here.
    socket.on('message', (message) => {
      // Binding success response (0x0101), with our transaction id at offset 8.
      const id = message.subarray(8, 20).toString('hex');
      const server = message.length >= 20 && message.readUInt16BE(0) === 0x0101 ? pending.get(id) : undefined;
      if (server === undefined) return;
      pending.delete(id);
      answered(server);
    });
    return socket;
  };
  const probe = async (server: IceServer) => {
    const { address, family } = await lookup(server.host);
    if (stopped) return;
    const transaction = randomBytes(12);
    pending.set(transaction.toString('hex'), server);
    // Binding request (0x0001), no attributes, magic cookie.
    const request = Buffer.concat([Buffer.from('000100002112a442', 'hex'), transaction]);
    for (const delayMs of sendAtMs) timers.push(setTimeout(() => socketOf(family).send(request, server.port, address, () => {}), delayMs));
  };
  for (const server of servers) probe(server).catch(() => {}); // An unknown name counts as no reply.
  return () => {
    stopped = true;
    for (const timer of timers) clearTimeout(timer);
    for (const socket of sockets.values()) socket.close();
  };
}

/** The same for servers on TCP: calls `answered` for each that accepts a connection, which is then dropped. */
export function askTcp(servers: readonly IceServer[], answered: (server: IceServer) => void): () => void {
  const sockets = servers.map((server) => {
    const socket = connect({ host: server.host, port: server.port }, () => {
      socket.destroy();
      answered(server);
    });
    socket.on('error', () => {});
    return socket;
  });
  return () => {
    for (const socket of sockets) socket.destroy();
  };
}
