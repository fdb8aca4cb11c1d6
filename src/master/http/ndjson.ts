import type { ServerResponse } from 'node:http';
import type { FastifyReply } from 'fastify';

/** Writes with backpressure. Resolves with false once the reader has gone. */
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

/** Takes over the raw response, with the headers set so far. */
export function openStream(reply: FastifyReply, type: string): ServerResponse {
  reply.hijack();
  const { raw } = reply;
  for (const [name, value] of Object.entries(reply.getHeaders())) if (value !== undefined) raw.setHeader(name, value);
  raw.writeHead(200, { 'content-type': type, 'cache-control': 'no-store', 'x-accel-buffering': 'no' });
  raw.flushHeaders();
  // The reader may disconnect at any time; writers notice by themselves.
  raw.on('error', () => {});
  return raw;
}

export const NDJSON = 'application/x-ndjson';
