import { WebSocket } from 'ws';
import type { OpenSocket } from './socket.js';

/** A tracker that does not finish the closing handshake may hold the process no longer than this. */
const LINGER_MS = 1000;

export const openNodeSocket: OpenSocket = (url, listener, { maxMessageBytes }) => {
  const socket = new WebSocket(url, { maxPayload: maxMessageBytes, perMessageDeflate: false, handshakeTimeout: 10_000 });
  let reason = '';
  let ended = false;
  const end = () => {
    if (ended) return;
    ended = true;
    listener.closed(reason || 'the tracker closed the connection');
  };
  socket.on('open', () => {
    if (!ended) listener.opened();
  });
  socket.on('message', (data, isBinary) => {
    if (!ended && !isBinary) listener.message(data.toString());
  });
  socket.on('error', (error) => {
    reason ||= error.message || ('code' in error ? String(error.code) : 'the connection failed');
  });
  socket.on('close', end);
  return {
    send(text) {
      if (socket.readyState === WebSocket.OPEN) socket.send(text, () => {});
    },
    close() {
      ended = true;
      if (socket.readyState === WebSocket.CLOSED) return;
      socket.close();
      setTimeout(() => socket.terminate(), LINGER_MS).unref();
    },
  };
};
