/**
 * Reads the lines of the parent without stream events: a job could replace what those pass through, and would then see the data of jobs
 * that were queued ahead. Node fills a buffer of ours, and calls us.
 */
import { Socket, type SocketConstructorOpts, type TcpSocketConnectOpts } from 'node:net';
import { Bytes, copyInto, decode, indexOf, lastIndexOfByte, max, Store, slice } from './primordials.js';

const READ_BYTES = 64 * 1024;
const LINE_END = 10;

/** Calls `onLine` for each line, and `onEnd` when the parent is gone. */
export function readCommands(fd: number, onLine: (line: string) => void, onEnd: () => void): void {
  const arrived = new Store(READ_BYTES);
  const bytes = new Bytes(arrived);
  /** The beginning of an incomplete line. */
  let keptStore = new Store(0);
  let room = 0;
  let keptBytes = 0;

  const keep = (from: number, to: number) => {
    const count = to - from;
    if (keptBytes + count > room) {
      room = max(room * 2, keptBytes + count);
      const larger = new Store(room);
      copyInto(new Bytes(larger), new Bytes(keptStore, 0, keptBytes));
      keptStore = larger;
    }
    copyInto(new Bytes(keptStore), new Bytes(arrived, from, count), keptBytes);
    keptBytes += count;
  };

  const take = (count: number): boolean => {
    // All complete lines are decoded at once: decoding each by itself costs a microsecond.
    const end = lastIndexOfByte(bytes, LINE_END, count - 1);
    if (end === -1) {
      keep(0, count);
      return true;
    }
    let text = decode(new Bytes(arrived, 0, end));
    if (keptBytes > 0) {
      keep(0, end);
      text = decode(new Bytes(keptStore, 0, keptBytes));
      keptStore = new Store(0);
      room = 0;
      keptBytes = 0;
    }
    if (end + 1 < count) keep(end + 1, count);
    let from = 0;
    for (let to = indexOf(text, '\n', from); to !== -1; to = indexOf(text, '\n', from)) {
      onLine(slice(text, from, to));
      from = to + 1;
    }
    onLine(from === 0 ? text : slice(text, from));
    return true;
  };

  // Node's types have `onread` for connections only, although the constructor reads it.
  const options: SocketConstructorOpts & Pick<TcpSocketConnectOpts, 'onread'> = {
    ...{ fd, readable: true, writable: false },
    onread: { buffer: bytes, callback: take },
  };
  const socket = new Socket(options);
  socket.on('end', onEnd);
  socket.on('error', onEnd);
  socket.resume();
}
