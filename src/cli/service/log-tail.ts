import { type FileHandle, open } from 'node:fs/promises';
import { StringDecoder } from 'node:string_decoder';
import { type Clock, pause } from '../../clock.js';
import { systemCode } from '../../kit/system-error.js';

const FOLLOW_MS = 200;
/** Bytes read at once, however long the log is. */
const PIECE = 64 * 1024;
const NEWLINE = 10;

type Write = (text: string) => void;

export interface TailOptions {
  readonly file: string;
  readonly lines: number;
  readonly follow: boolean;
  readonly signal: AbortSignal;
  readonly clock: Clock;
  readonly write: Write;
}

/** Writes the last lines of a rotating log, and with `follow` new ones as well, until the signal aborts. */
export async function tailLog({ file, lines, follow, signal, clock, write }: TailOptions): Promise<void> {
  let place = await writeLast(file, lines, write);
  while (follow && !signal.aborted) {
    await pause(clock, FOLLOW_MS, signal);
    place = await writeNew(file, place, write);
  }
}

interface Place {
  readonly inode: number;
  readonly offset: number;
  /** Holds the beginning of a character whose end is not written yet. */
  readonly decoder: StringDecoder;
}

/** Writes the last complete lines of the log and, if it has too few, of the file before it. */
async function writeLast(file: string, lines: number, write: Write): Promise<Place | undefined> {
  return withFile(file, async (handle) => {
    const last = handle && (await lastLines(handle, lines));
    const missing = lines - (last?.count ?? 0);
    if (missing > 0)
      await withFile(`${file}.1`, async (old) => {
        if (old === undefined) return;
        const { from, to } = await lastLines(old, missing);
        await writePart(old, from, to, new StringDecoder(), write);
      });
    if (handle === undefined || last === undefined) return undefined;
    const decoder = new StringDecoder();
    return { inode: last.inode, offset: await writePart(handle, last.from, last.to, decoder, write), decoder };
  });
}

/** Writes what was added after the given place; if the log was rotated, the end of the old file and all of the new one. */
async function writeNew(file: string, place: Place | undefined, write: Write): Promise<Place | undefined> {
  return withFile(file, async (handle) => {
    if (handle === undefined) return place;
    const { ino: inode, size } = await handle.stat();
    if (place !== undefined && place.inode !== inode) await writeRest(`${file}.1`, place, write);
    const { offset, decoder } = place?.inode === inode ? place : { offset: 0, decoder: new StringDecoder() };
    return { inode, offset: await writePart(handle, Math.min(offset, size), size, decoder, write), decoder };
  });
}

async function writeRest(file: string, { inode, offset, decoder }: Place, write: Write): Promise<void> {
  await withFile(file, async (handle) => {
    const old = await handle?.stat();
    if (handle !== undefined && old?.ino === inode) await writePart(handle, offset, old.size, decoder, write);
  });
}

/** Finds the last complete lines, at most this many, from the end on. */
async function lastLines(handle: FileHandle, wanted: number): Promise<{ inode: number; from: number; to: number; count: number }> {
  const { ino: inode, size } = await handle.stat();
  const piece = Buffer.alloc(Math.min(PIECE, size));
  let to = 0;
  let count = 0;
  for (let end = size; end > 0; ) {
    const begin = Math.max(0, end - PIECE);
    const { bytesRead } = await handle.read(piece, 0, end - begin, begin);
    const bytes = piece.subarray(0, bytesRead);
    for (let at = bytes.lastIndexOf(NEWLINE); at !== -1; at = at === 0 ? -1 : bytes.lastIndexOf(NEWLINE, at - 1)) {
      const next = begin + at + 1;
      if (to === 0) to = next;
      if (count === wanted) return { inode, from: next, to, count };
      count += 1;
    }
    end = begin;
  }
  return { inode, from: 0, to, count };
}

/** Returns the offset up to which it was written. */
async function writePart(handle: FileHandle, from: number, to: number, decoder: StringDecoder, write: Write): Promise<number> {
  const piece = Buffer.alloc(Math.min(PIECE, Math.max(0, to - from)));
  let at = from;
  while (at < to) {
    const { bytesRead } = await handle.read(piece, 0, Math.min(piece.length, to - at), at);
    if (bytesRead === 0) break;
    at += bytesRead;
    const text = decoder.write(piece.subarray(0, bytesRead));
    if (text !== '') write(text);
  }
  return at;
}

async function withFile<T>(file: string, use: (handle: FileHandle | undefined) => Promise<T>): Promise<T> {
  const handle = await open(file, 'r').catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  });
  try {
    return await use(handle);
  } finally {
    await handle?.close();
  }
}
