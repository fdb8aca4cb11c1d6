import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type Clock, systemClock } from '../clock.js';
import { PeerworkError } from '../errors.js';
import { SilenceLimit } from './silence-limit.js';

/** When one side of a joined pair has ended, the pair is cut after the other side is silent for this long, or up to twice as long. */
export const HALF_OPEN_IDLE_MS = 600_000;

const NOTHING = Buffer.alloc(0);

export interface JoinOptions {
  /** Aborting cuts both sides with its reason. */
  readonly signal?: AbortSignal;
  readonly clock?: Clock;
  /** Default: `HALF_OPEN_IDLE_MS`. Silence is unlimited while both sides are open. */
  readonly halfOpenIdleMs?: number;
}

/**
 * Copies every byte in both directions, at the pace of the slower stream, and propagates the end of each direction separately. Both
 * streams must have been created with `allowHalfOpen`. Resolves when both directions have ended and both streams are closed. If a
 * stream fails, or closes before its end, the other one is reset rather than ended; the promise then rejects with the first fault
 * once both are closed.
 *
 * Two calls of `stream.pipeline` would not do: a pipeline is done when its last stream has finished writing, and then destroys its
 * first stream while the opposite pipeline is still writing to it. Measured: 3 to 7 of 25 responses of 20 MiB silently lost up to
 * 59 KiB of their tail.
 */
export function joinStreams(a: Duplex, b: Duplex, options: JoinOptions = {}): Promise<void> {
  const { signal, clock = systemClock, halfOpenIdleMs = HALF_OPEN_IDLE_MS } = options;
  return new Promise((resolve, reject) => {
    const open = new Set([a, b]);
    let fault: Error | undefined;
    const cut = (error: Error) => {
      fault ??= error;
      for (const stream of open) resetStream(stream, fault);
    };
    const aborted = () => cut(signal?.reason instanceof Error ? signal.reason : broken('it was cut off'));
    const silence = new SilenceLimit(clock, halfOpenIdleMs, () => cut(halfOpen(halfOpenIdleMs)));
    const closed = (stream: Duplex) => {
      open.delete(stream);
      if (!(stream.readableEnded && stream.writableFinished)) cut(broken('it was closed before its end'));
      if (open.size > 0) return;
      silence.stop();
      signal?.removeEventListener('abort', aborted);
      if (fault === undefined) resolve();
      else reject(fault);
    };
    const connect = (from: Duplex, to: Duplex) => {
      from.on('error', cut);
      const ended = () => {
        silence.start();
        to.on('data', () => silence.moved());
        const pass = (error?: Error) => {
          if (error !== undefined) cut(error);
          else if (fault === undefined) to.end();
        };
        if (isTcp(from)) confirmEnd(from, pass);
        else pass();
      };
      if (from.readableEnded) ended();
      else from.once('end', ended);
      if (from.closed) closed(from);
      else from.once('close', () => closed(from));
      from.pipe(to, { end: false });
    };
    connect(a, b);
    connect(b, a);
    signal?.addEventListener('abort', aborted, { once: true });
    if (signal?.aborted) aborted();
  });
}

/**
 * Closes a stream so that the peer sees a fault instead of an end: by RST on TCP. On a unix socket the peer sees an end but can no
 * longer write.
 */
export function resetStream(stream: Duplex, error: Error): void {
  if (stream.destroyed) return;
  // The reset itself emits no error, and a late error must not crash the process.
  stream.on('error', () => {});
  if (!isTcp(stream)) stream.destroy(error);
  // libuv refuses to reset during a shutdown, and Node would then never close the socket. A shutdown takes one turn of the event
  // loop.
  else if (stream.writableEnded && !stream.writableFinished && stream.writableLength === 0)
    stream.once('finish', () => resetStream(stream, error));
  else stream.resetAndDestroy();
}

/**
 * Calls back once it is known whether the end that a socket has just emitted was real: with the error if it was not. libuv reports
 * a TCP reset that arrives together with the last bytes as an end; a write, even an empty one, then fails (measured on Linux). On a
 * unix socket the same write distinguishes a half-close from a close. Once our own direction has ended nothing can be written, and
 * the end is taken at face value.
 */
export function confirmEnd(socket: Socket, done: (error?: Error) => void): void {
  if (!socket.writable) done();
  // Pending writes meet the error as well, within this turn of the event loop; an empty write would queue behind them.
  else if (socket.writableLength > 0) setImmediate(() => done(socket.errored ?? undefined));
  else socket.write(NOTHING, (error) => done(error ?? undefined));
}

/**
 * Makes the socket emit an error instead of a false end, see `confirmEnd`. For readers of a stream whose completeness shows only in
 * its end.
 */
export function exposeBreaks(socket: Socket): void {
  const push = socket.push.bind(socket);
  socket.push = (chunk: unknown, encoding?: BufferEncoding) => {
    if (chunk !== null) return push(chunk, encoding);
    confirmEnd(socket, (error) => {
      if (error === undefined) push(null);
      else socket.destroy(error);
    });
    return false;
  };
}

/** A unix socket has no address, and TLS has no reset of its own. */
function isTcp(stream: Duplex): stream is Socket {
  return stream instanceof Socket && !('encrypted' in stream) && stream.localAddress !== undefined;
}

/** Returns the error for a connection of which one side has ended while the other stays silent. */
export function halfOpen(limitMs: number): PeerworkError {
  return broken(`one side has ended, and the other was silent for ${limitMs / 1_000} s`);
}

function broken(detail: string): PeerworkError {
  return new PeerworkError('connection-broken', detail);
}
