import { isUtf8 } from 'node:buffer';
import type { ServerResponse } from 'node:http';
import type { FastifyReply } from 'fastify';

const NEWLINE = 10;

export interface Line {
  readonly number: number;
  /** Undefined: it was longer than allowed, or no UTF-8, and was skipped. */
  readonly text: string | undefined;
  readonly fault?: 'long' | 'encoding';
}

/** Cuts bytes into lines; of a line that is too long nothing is kept. Empty lines count, but are left out. */
export class LineCutter {
  readonly #maxBytes: number;
  #parts: Buffer[] = [];
  #bytes = 0;
  #number = 1;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  *take(chunk: Buffer): Generator<Line, void, undefined> {
    let from = 0;
    for (let at = chunk.indexOf(NEWLINE); at !== -1; at = chunk.indexOf(NEWLINE, from)) {
      this.#keep(chunk.subarray(from, at));
      yield* this.end();
      from = at + 1;
    }
    // Copied: a small rest must not hold the whole chunk.
    if (from < chunk.length) this.#keep(Buffer.from(chunk.subarray(from)));
  }

  /** What stands behind the last line end. */
  *end(): Generator<Line, void, undefined> {
    const number = this.#number;
    const bytes = this.#bytes;
    const whole = this.#parts.length === 1 ? this.#parts[0] : Buffer.concat(this.#parts);
    this.#parts = [];
    this.#bytes = 0;
    this.#number += 1;
    if (bytes > this.#maxBytes) return void (yield { number, text: undefined, fault: 'long' });
    if (whole === undefined || !isUtf8(whole)) return void (yield { number, text: undefined, fault: 'encoding' });
    const text = whole.toString().trim();
    if (text !== '') yield { number, text };
  }

  #keep(part: Buffer): void {
    this.#bytes += part.length;
    if (this.#bytes > this.#maxBytes) this.#parts = [];
    else if (part.length > 0) this.#parts.push(part);
  }
}

/** Resolves with false when the reader has gone. */
export async function writeAll(raw: ServerResponse, text: string): Promise<boolean> {
  if (raw.destroyed || raw.writableEnded) return false;
  if (raw.write(text)) return true;
  await new Promise<void>((resolve) => {
    const done = () => {
      raw.off('drain', done);
      raw.off('close', done);
      resolve();
    };
    raw.on('drain', done);
    raw.on('close', done);
  });
  return !raw.destroyed;
}

/** Takes the answer into our own hands, with the headers set so far. */
export function openStream(reply: FastifyReply, type: string): ServerResponse {
  reply.hijack();
  const { raw } = reply;
  for (const [name, value] of Object.entries(reply.getHeaders())) if (value !== undefined) raw.setHeader(name, value);
  raw.writeHead(200, { 'content-type': type, 'cache-control': 'no-store', 'x-accel-buffering': 'no' });
  raw.flushHeaders();
  // The reader may go at any time; whoever writes sees it.
  raw.on('error', () => {});
  return raw;
}

export const NDJSON = 'application/x-ndjson';
