import type { Socket } from 'node:net';
import { PeerworkError } from '../errors.js';

/**
 * Carries bytes between a TCP connection and a stream of a link: yields what the connection sends, and writes to it what is uploaded, each
 * direction to its own end and only as fast as the other side takes it. The connection is closed when both have ended, or at once when the
 * reader stops or the signal aborts.
 */
export async function* carry(socket: Socket, signal: AbortSignal, upload: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const stop = () => socket.destroy();
  signal.addEventListener('abort', stop, { once: true });
  socket.once('close', () => signal.removeEventListener('abort', stop));
  if (signal.aborted) stop();
  let complete = false;
  try {
    void write(upload, socket);
    for await (const bytes of socket.iterator({ destroyOnReturn: false })) yield bytes as Uint8Array;
    complete = true;
  } catch (thrown) {
    throw broken(thrown);
  } finally {
    // What is still uploaded goes on.
    if (!complete || signal.aborted) socket.destroy();
  }
}

async function write(upload: AsyncIterable<Uint8Array>, socket: Socket): Promise<void> {
  try {
    for await (const bytes of upload) {
      if (socket.destroyed) return;
      if (!socket.write(bytes)) await drained(socket);
    }
    socket.end();
  } catch {
    // The stream was given up.
    socket.destroy();
  }
}

function drained(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      socket.off('drain', done);
      socket.off('close', done);
      resolve();
    };
    socket.on('drain', done);
    socket.on('close', done);
  });
}

function broken(thrown: unknown): PeerworkError {
  if (thrown instanceof PeerworkError) return thrown;
  return new PeerworkError('tunnel-broken', (thrown as NodeJS.ErrnoException).code ?? 'it was closed');
}
