import { asPeerworkError, type ErrorCode, knownError, PeerworkError } from '../../errors.js';
import { MAX_MESSAGE_BYTES, MESSAGE_LIMITS } from '../../job/limits.js';
import { type JsonRefused, parseJson as parse } from '../../kit/json.js';
import { printable } from '../../kit/printable.js';
import { toUtf8 } from '../bytes.js';
import { malformed } from './reader.js';

/** The text format of calls, replies and refusals. */

/** A text that is ready to be sent; `bytes` if they had to be made to know its size. */
export interface Sendable {
  readonly text: string;
  readonly bytes: Uint8Array | undefined;
}

const MAX_VERB_CHARS = 64;
const MAX_DETAIL_CHARS = 1_000;
/** UTF-8 bytes per UTF-16 code unit. */
const MAX_BYTES_PER_CHAR = 3;

/** Throws `rpc-invalid` if the arguments are not representable in JSON, `frame-oversized` if they are too large. */
export function formatCall(verb: string, args: unknown): Sendable {
  return sendable(`${verb}\n${toJson(args, 'rpc-invalid')}`);
}

/** Throws `rpc-failed` if the result is not representable in JSON, `frame-oversized` if it is too large. */
export function formatAnswer(answer: unknown): Sendable {
  return sendable(toJson(answer, 'rpc-failed'));
}

/** Throws `frame-malformed`. */
export function parseCall(text: string): { readonly verb: string; readonly args: unknown } {
  const end = text.indexOf('\n');
  if (end < 1 || end > MAX_VERB_CHARS) throw malformed('a call without a verb');
  return { verb: text.slice(0, end), args: parseJson(text.slice(end + 1)) };
}

/** Throws `frame-malformed`. */
export function parseJson(text: string): unknown {
  if (text === '') return undefined;
  try {
    return parse(text, MESSAGE_LIMITS);
  } catch (thrown) {
    throw malformed((thrown as JsonRefused).message);
  }
}

/** Formats a failure for the peer: the code and detail of a PeerworkError, or only `rpc-failed` for anything else. */
export function formatRefusal(thrown: unknown): string {
  const { code, detail } = thrown instanceof PeerworkError ? thrown : new PeerworkError('rpc-failed');
  return `${code}\n${detail.slice(0, MAX_DETAIL_CHARS)}`;
}

export function parseRefusal(text: string): PeerworkError {
  const end = text.indexOf('\n');
  const code = end < 0 ? text : text.slice(0, end);
  const detail = end < 0 ? '' : printable(text.slice(end + 1), MAX_DETAIL_CHARS);
  return knownError(code, detail) ?? new PeerworkError('rpc-failed', `${printable(code, MAX_VERB_CHARS)} ${detail}`.trim());
}

function toJson(value: unknown, code: ErrorCode): string {
  try {
    return JSON.stringify(value) ?? '';
  } catch (error) {
    throw new PeerworkError(code, asPeerworkError(error).detail);
  }
}

function sendable(text: string): Sendable {
  if (text.length * MAX_BYTES_PER_CHAR <= MAX_MESSAGE_BYTES) return { text, bytes: undefined };
  const bytes = text.length > MAX_MESSAGE_BYTES ? undefined : toUtf8(text);
  if (bytes === undefined || bytes.length > MAX_MESSAGE_BYTES)
    throw new PeerworkError('frame-oversized', `${bytes?.length ?? text.length} of ${MAX_MESSAGE_BYTES} bytes`);
  return { text, bytes };
}
