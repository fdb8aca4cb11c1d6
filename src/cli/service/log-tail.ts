import { open, readFile, stat } from 'node:fs/promises';
import { type Clock, pause } from '../../clock.js';

const FOLLOW_MS = 200;

export interface TailOptions {
  readonly file: string;
  readonly lines: number;
  readonly follow: boolean;
  readonly signal: AbortSignal;
  readonly clock: Clock;
  readonly write: (text: string) => void;
}

/** Writes the last lines of a rotating log, and with `follow` new ones as well, until the signal aborts. */
export async function tailLog({ file, lines, follow, signal, clock, write }: TailOptions): Promise<void> {
  let { text, place } = await readFrom(file, undefined);
  let last = text.split('\n').slice(0, -1);
  if (last.length < lines) last = [...(await readFile(`${file}.1`, 'utf8').catch(() => '')).split('\n').slice(0, -1), ...last];
  if (lines > 0 && last.length > 0) write(`${last.slice(-lines).join('\n')}\n`);
  while (follow && !signal.aborted) {
    await pause(clock, FOLLOW_MS, signal);
    ({ text, place } = await readFrom(file, place));
    if (text !== '') write(text);
  }
}

interface Place {
  readonly inode: number;
  readonly offset: number;
}

/** Reads what was written after the given place; if the log was rotated, the end of the old file and all of the new one. */
async function readFrom(file: string, place: Place | undefined): Promise<{ text: string; place: Place | undefined }> {
  let missed = '';
  const now = await stat(file).catch(() => undefined);
  if (now === undefined) return { text: '', place };
  if (place !== undefined && place.inode !== now.ino) {
    const old = await stat(`${file}.1`).catch(() => undefined);
    if (old?.ino === place.inode) missed = await readPart(`${file}.1`, place.offset, old.size);
  }
  const from = place?.inode === now.ino ? Math.min(place.offset, now.size) : 0;
  const text = await readPart(file, from, now.size);
  return { text: missed + text, place: { inode: now.ino, offset: now.size } };
}

async function readPart(file: string, from: number, to: number): Promise<string> {
  if (to <= from) return '';
  const handle = await open(file, 'r');
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(to - from), 0, to - from, from);
    return buffer.subarray(0, bytesRead).toString();
  } finally {
    await handle.close();
  }
}
