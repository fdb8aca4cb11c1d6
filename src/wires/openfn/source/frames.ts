import { type JsonRefused, parseJson } from '../../../kit/json.js';
import { outlineOf } from '../../../kit/json-outline.js';

export const MAX_FRAME_BYTES = 128 * 1024 * 1024;

/**
 * Phoenix frames, serializer version 2.0.0. A text frame is a JSON array `[join_ref, ref, topic, event, payload]`. A binary frame holds the
 * kind (0 push, 1 reply, 2 broadcast), the lengths of join_ref, ref (absent in broadcasts), topic, and event or status, those texts in
 * UTF-8, then the payload. Requests are always text.
 *
 * Replies arrive as `phx_reply`, or from the mock server as `chan_reply_<ref>`, the name under which the JavaScript client dispatches
 * replies internally. Both are accepted.
 */
export interface Request {
  readonly joinRef: string | null;
  readonly ref: string;
  readonly topic: string;
  readonly event: string;
  readonly payload: unknown;
}

export type Received =
  | { readonly kind: 'reply'; readonly ref: string; readonly topic: string; readonly ok: boolean; readonly response: unknown }
  | { readonly kind: 'push'; readonly joinRef: string | null; readonly topic: string; readonly event: string; readonly payload: unknown };

export function encodeRequest({ joinRef, ref, topic, event, payload }: Request): string {
  return JSON.stringify([joinRef, ref, topic, event, payload]);
}

/** Returns undefined for an invalid frame. The response of a binary reply is a Buffer. */
export function decodeFrame(data: Buffer, binary: boolean): Received | undefined {
  return binary ? decodeBinary(data) : decodeText(data.toString());
}

function decodeText(text: string): Received | undefined {
  try {
    return readFrame(parseJson(text, { maxBytes: MAX_FRAME_BYTES }));
  } catch (thrown) {
    // A reply that is nested too deep is turned into an error for its request.
    const frame = readFrame(outlineOf(text, { maxBytes: MAX_FRAME_BYTES, maxDepth: 2 }));
    return frame?.kind === 'reply' ? { ...frame, ok: false, response: (thrown as JsonRefused).message } : undefined;
  }
}

function readFrame(frame: unknown): Received | undefined {
  if (!Array.isArray(frame) || frame.length !== 5) return undefined;
  const [joinRef, ref, topic, event, payload] = frame as unknown[];
  if (typeof topic !== 'string' || typeof event !== 'string') return undefined;
  const replyRef = event === 'phx_reply' ? ref : /^chan_reply_(.{1,20})$/.exec(event)?.[1];
  if (replyRef === undefined) return { kind: 'push', joinRef: typeof joinRef === 'string' ? joinRef : null, topic, event, payload };
  if (typeof replyRef !== 'string' || typeof payload !== 'object' || payload === null) return undefined;
  const { status, response } = payload as { status?: unknown; response?: unknown };
  if (status !== 'ok' && status !== 'error') return undefined;
  return { kind: 'reply', ref: replyRef, topic, ok: status === 'ok', response };
}

const PUSH = 0;
const REPLY = 1;
const BROADCAST = 2;

function decodeBinary(data: Buffer): Received | undefined {
  const kind = data[0];
  // Number of length bytes after the kind.
  const count = kind === PUSH ? 3 : kind === REPLY ? 4 : kind === BROADCAST ? 2 : 0;
  if (count === 0 || data.length < 1 + count) return undefined;
  let at = 1 + count;
  const texts: string[] = [];
  for (const length of data.subarray(1, 1 + count)) {
    if (at + length > data.length) return undefined;
    texts.push(data.toString('utf8', at, at + length));
    at += length;
  }
  const body = data.subarray(at);
  if (kind === REPLY) {
    const [, ref = '', topic = '', status = ''] = texts;
    if (status !== 'ok' && status !== 'error') return undefined;
    return { kind: 'reply', ref, topic, ok: status === 'ok', response: body };
  }
  const [event = '', topic = '', joinRef = null] = [...texts].reverse();
  return { kind: 'push', joinRef, topic, event, payload: body };
}
