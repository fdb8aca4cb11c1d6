import { connect as connectPlain, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { exposeBreaks } from '../kit/join-streams.js';
import { bareHost, serverName } from '../kit/redis-url.js';

const MAX_ANSWER_BYTES = 8_192;

export interface Address {
  readonly host: string;
  readonly port: number;
  /** Whether to use TLS. */
  readonly secure: boolean;
  /** Whether the certificate must be valid for the name or address. Default true. */
  readonly verify?: boolean;
}

/**
 * Opens a connection: directly, or by HTTP CONNECT through the proxy that listens on a unix socket. The proxy resolves names; a container
 * without a network of its own reaches through it whatever it is allowed to reach. A connection that breaks ends with an error.
 */
export async function openConnection(address: Address, proxySocket: string | undefined, signal: AbortSignal): Promise<Socket> {
  const socket = proxySocket === undefined ? await direct(address, signal) : await throughProxy(address, proxySocket, signal);
  if (!address.secure) {
    exposeBreaks(socket);
    return socket;
  }
  const secured = connectTls({
    socket,
    ...serverName(address.host),
    rejectUnauthorized: address.verify ?? true,
  });
  exposeBreaks(secured);
  await settled(secured, 'secureConnect', signal);
  return secured;
}

async function direct({ host, port }: Address, signal: AbortSignal): Promise<Socket> {
  const socket = connectPlain({ host: bareHost(host), port });
  await settled(socket, 'connect', signal);
  return socket;
}

async function throughProxy({ host, port }: Address, path: string, signal: AbortSignal): Promise<Socket> {
  const socket = connectPlain({ path });
  await settled(socket, 'connect', signal);
  const target = `${host}:${port}`;
  socket.write(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\n\r\n`);
  const answer = await readAnswer(socket, signal);
  const [, status = '', reason = ''] = /^HTTP\/1\.[01] (\d{3}) ?(.*)/.exec(answer) ?? [];
  if (status === '200') return socket;
  socket.destroy();
  const refused = /^x-peerwork-refused: *(.*)$/im.exec(answer)?.[1]?.trim();
  if (refused !== undefined) throw new Error(`${target} is refused: ${refused}`);
  throw new Error(`${target} cannot be reached: the proxy responded ${status} ${reason.trim()}`.trim());
}

/** Reads up to the empty line; what comes after it stays in the socket. */
function readAnswer(socket: Socket, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    let answer = Buffer.alloc(0);
    const done = (error?: Error) => {
      socket.off('readable', read).off('error', done).off('close', closed);
      signal.removeEventListener('abort', aborted);
      if (error === undefined) return resolve(answer.toString('latin1'));
      socket.destroy();
      reject(error);
    };
    const closed = () => done(new Error('the proxy closed the connection'));
    const aborted = () => done(new Error('the connection took too long'));
    const read = () => {
      for (let chunk = socket.read() as Buffer | null; chunk !== null; chunk = socket.read() as Buffer | null) {
        answer = Buffer.concat([answer, chunk]);
        const end = answer.indexOf('\r\n\r\n');
        if (end >= 0) {
          const rest = answer.subarray(end + 4);
          answer = answer.subarray(0, end);
          done();
          if (rest.length > 0) socket.unshift(rest);
          return;
        }
        if (answer.length > MAX_ANSWER_BYTES) return done(new Error('the proxy’s response is not HTTP'));
      }
    };
    socket.on('readable', read).on('error', done).on('close', closed);
    signal.addEventListener('abort', aborted, { once: true });
    if (signal.aborted) aborted();
  });
}

function settled(socket: Socket, event: 'connect' | 'secureConnect', signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const done = (error?: Error) => {
      socket.off(event, succeeded).off('error', done);
      signal.removeEventListener('abort', aborted);
      if (error === undefined) return resolve();
      socket.destroy();
      reject(error);
    };
    const succeeded = () => done();
    const aborted = () => done(new Error('the connection took too long'));
    socket.once(event, succeeded).once('error', done);
    signal.addEventListener('abort', aborted, { once: true });
    if (signal.aborted) aborted();
  });
}
