import type { Socket } from 'node:net';
import type { Clock } from '../clock.js';
import { PeerworkError } from '../errors.js';
import { confirmEnd, HALF_OPEN_IDLE_MS, halfOpen, resetStream } from '../kit/join-streams.js';
import { SilenceLimit } from '../kit/silence-limit.js';

/**
 * Carries bytes between a TCP connection and a stream of a link: yields the connection's bytes and writes the uploaded ones to it,
 * each direction up to its own end and at the pace of its reader. The connection is closed when both directions have ended. It is
 * reset rather than ended when the reader stops, the signal aborts, the upload fails, or one direction has ended and the other is
 * silent for `HALF_OPEN_IDLE_MS`.
 */
export async function* carry(
  socket: Socket,
  signal: AbortSignal,
  upload: AsyncIterable<Uint8Array>,
  clock: Clock,
): AsyncGenerator<Uint8Array> {
  const silence = new SilenceLimit(clock, HALF_OPEN_IDLE_MS, () => cut(halfOpen(HALF_OPEN_IDLE_MS)));
  let reason: PeerworkError | undefined;
  const cut = (error: PeerworkError) => {
    reason ??= error;
    resetStream(socket, reason);
  };
  const stop = () => cut(new PeerworkError('rpc-cancelled'));
  signal.addEventListener('abort', stop, { once: true });
  const sent = upload[Symbol.asyncIterator]();
  socket.once('close', () => {
    silence.stop();
    // If more bytes follow, this tells the peer that they were not accepted.
    void sent.return?.();
    signal.removeEventListener('abort', stop);
  });
  if (signal.aborted) stop();
  let complete = false;
  try {
    void write(sent, socket, silence);
    for await (const bytes of socket.iterator({ destroyOnReturn: false })) {
      silence.moved();
      yield bytes as Uint8Array;
    }
    const fault = await new Promise<Error | undefined>((resolve) => confirmEnd(socket, resolve));
    if (fault !== undefined) throw fault;
    complete = true;
  } catch (thrown) {
    throw reason ?? broken(thrown);
  } finally {
    // The upload continues if the download is complete.
    if (complete) silence.start();
    else stop();
  }
}

async function write(upload: AsyncIterator<Uint8Array>, socket: Socket, silence: SilenceLimit): Promise<void> {
  try {
    for (let next = await upload.next(); !next.done; next = await upload.next()) {
      if (socket.destroyed) return;
      silence.moved();
      if (!socket.write(next.value)) await drained(socket);
    }
    socket.end();
    silence.start();
  } catch {
    resetStream(socket, new PeerworkError('rpc-cancelled'));
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
    if (socket.destroyed) done();
  });
}

function broken(thrown: unknown): PeerworkError {
  if (thrown instanceof PeerworkError) return thrown;
  return new PeerworkError('tunnel-broken', (thrown as NodeJS.ErrnoException).code ?? 'it was closed');
}
