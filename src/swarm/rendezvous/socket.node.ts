import { WebSocket } from 'ws';
import type { OpenSocket, SocketEnd } from './socket.js';
import { retryAfterMs } from './tracker-pace.js';

/** A tracker that does not finish the closing handshake can keep the process alive no longer than this. */
const LINGER_MS = 1000;
/** A socket that was silent for this long is pinged: announces are minutes apart, and routers drop idle mappings. */
const PING_AFTER_MS = 60_000;
const PONG_MS = 20_000;
/** With these errors no server was there to refuse anything; any other failure costs both sides a connection. */
const UNREACHED: ReadonlySet<unknown> = new Set([
  ...['ECONNREFUSED', 'ENETUNREACH', 'EHOSTUNREACH', 'ENETDOWN', 'EHOSTDOWN', 'EADDRNOTAVAIL'],
  ...['ETIMEDOUT', 'ENOTFOUND', 'EAI_AGAIN', 'EAI_FAIL'],
]);

export const openNodeSocket: OpenSocket = (url, listener, { maxMessageBytes }) => {
  const socket = new WebSocket(url, { maxPayload: maxMessageBytes, perMessageDeflate: false, handshakeTimeout: 10_000 });
  let reason = '';
  let end: SocketEnd = {};
  let ended = false;
  const watch = watchLife(socket, () => {
    reason ||= 'the tracker does not respond any more';
    socket.terminate();
  });
  socket.on('open', () => {
    if (!ended) listener.opened();
  });
  socket.on('message', (data, isBinary) => {
    if (!ended && !isBinary) listener.message(data.toString());
  });
  socket.on('unexpected-response', (_request, response) => {
    const restMs = retryAfterMs(response.headers['retry-after'], Date.now());
    reason ||= `HTTP ${response.statusCode}`;
    end = { refused: true, ...(restMs !== undefined && { retryAfterMs: restMs }) };
    response.resume();
    socket.terminate();
  });
  socket.on('error', (error) => {
    const code = 'code' in error ? error.code : undefined;
    if (reason === '') end = { refused: code !== undefined && !UNREACHED.has(code) };
    reason ||= error.message || (code === undefined ? 'the connection failed' : String(code));
  });
  socket.on('close', () => {
    watch.stop();
    if (ended) return;
    ended = true;
    listener.closed(reason || 'the tracker closed the connection', end);
  });
  return {
    send(text) {
      if (socket.readyState === WebSocket.OPEN) socket.send(text, () => {});
    },
    close() {
      ended = true;
      watch.stop();
      if (socket.readyState === WebSocket.CLOSED) return;
      socket.close();
      setTimeout(() => socket.terminate(), LINGER_MS).unref();
    },
  };
};

/** Calls `dead` when an open socket has been silent for PING_AFTER_MS and does not respond to a ping. */
function watchLife(socket: WebSocket, dead: () => void): { stop(): void } {
  let timer: NodeJS.Timeout | undefined;
  const ping = () => {
    socket.ping(() => {});
    timer = setTimeout(dead, PONG_MS).unref();
  };
  const alive = () => {
    clearTimeout(timer);
    timer = setTimeout(ping, PING_AFTER_MS).unref();
  };
  for (const event of ['open', 'message', 'ping', 'pong']) socket.on(event, alive);
  return { stop: () => clearTimeout(timer) };
}
