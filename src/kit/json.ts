import { findInexactNumber } from './json-numbers.js';
import { isDeeper, isMore } from './json-scan.js';
import { notUtf8 } from './utf8.js';

/**
 * The one door for JSON that somebody else wrote: a child, a peer, HTTP, a foreign server, a tracker, a file.
 *
 * `JSON.parse` takes a million levels, but most of what is done with a value afterwards is recursive: JSON.stringify fails at 5,000 levels, a
 * validator or `structuredClone` earlier. So size and depth are checked on the text, before there is a value.
 *
 * A key `__proto__` becomes an own property, as JSON.parse makes it: what a user sends arrives as it was sent. It sets no prototype as long as
 * nothing copies foreign keys by assignment: use spread, a Map or a validator, never `Object.assign` or `target[key] = …`.
 */

/** What one door lets in: deeper than anything that people write, and far from where recursion over a value ends a process. */
export const MAX_JSON_DEPTH = 512;
/**
 * What a user's own value may have (a job's data, an output, progress): the difference to MAX_JSON_DEPTH is room for the messages, lines and lists
 * that carry it, so that what was let in once passes every later door.
 */
export const MAX_VALUE_DEPTH = 500;

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

export interface JsonLimits {
  /** Bytes of UTF-8. */
  readonly maxBytes: number;
  /** Arrays and objects inside each other; default `MAX_JSON_DEPTH`. */
  readonly maxDepth?: number;
  /** Values in all arrays and objects together. An empty object is three bytes of text and 60 of memory. Default: as many as fit into `maxBytes`. */
  readonly maxItems?: number;
  /** Refuses numbers that would be rounded, with their place: for what a user wrote. What peerwork wrote itself has none. */
  readonly exact?: boolean;
}

/** What a file of this machine or a program on it may hold: settings, records, what a tool prints. */
export const LOCAL_JSON: JsonLimits = { maxBytes: 16 * 1024 * 1024 };

/** Why a text is not let in; the message is fit for a user. */
export class JsonRefused extends Error {
  override readonly name = 'JsonRefused';
  readonly reason: 'too-large' | 'too-deep' | 'too-many' | 'malformed' | 'inexact';

  constructor(reason: JsonRefused['reason'], message: string) {
    super(message);
    this.reason = reason;
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

/** Parses JSON within limits. Throws `JsonRefused`. Bytes are read as UTF-8, and refused if they are none. */
export function parseJson(
  source: string | Uint8Array,
  { maxBytes, maxDepth = MAX_JSON_DEPTH, maxItems, exact = false }: JsonLimits,
): unknown {
  if (isLarger(source, maxBytes)) throw new JsonRefused('too-large', `more than ${maxBytes} bytes of JSON`);
  const text = typeof source === 'string' ? source : decode(source);
  if (isDeeper(text, maxDepth)) throw new JsonRefused('too-deep', `JSON nested more than ${maxDepth} deep`);
  if (maxItems !== undefined && isMore(text, maxItems)) throw new JsonRefused('too-many', `more than ${maxItems} values in the JSON`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new JsonRefused('malformed', error instanceof Error ? error.message.slice(0, 200) : 'not JSON');
  }
  const inexact = exact ? findInexactNumber(text) : undefined;
  if (inexact === undefined) return value;
  const { literal, path, line, column } = inexact;
  const place = `${path === '' ? '' : ` at ${path}`} (${line === 1 ? '' : `line ${line}, `}column ${column})`;
  throw new JsonRefused('inexact', `the number ${literal}${place} would become ${inexact.value}: write it as a string`);
}

/** As `parseJson`, where all that matters is whether it can be used: undefined if it is refused. */
export function tryParseJson(source: string | Uint8Array, limits: JsonLimits): unknown {
  try {
    return parseJson(source, limits);
  } catch {
    return undefined;
  }
}

/** Is a text more than `maxBytes` of UTF-8? */
function isLarger(source: string | Uint8Array, maxBytes: number): boolean {
  if (typeof source !== 'string') return source.byteLength > maxBytes;
  if (source.length > maxBytes) return true;
  // A UTF-16 unit is three bytes of UTF-8 at most: only what comes near the limit is counted.
  return source.length * 3 > maxBytes && new TextEncoder().encode(source).byteLength > maxBytes;
}

/** JSON text of a value that somebody else made, such as a program's own data: what passes here passes every later door. Throws `JsonRefused`. */
export function formatJson(value: unknown, { maxBytes, maxDepth = MAX_VALUE_DEPTH }: Omit<JsonLimits, 'maxItems' | 'exact'>): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch (error) {
    // The stack ends at some 5,000 levels.
    if (error instanceof RangeError) throw new JsonRefused('too-deep', `nested more than ${maxDepth} deep`);
    throw new JsonRefused('malformed', error instanceof Error ? (error.message.split('\n')[0] ?? '') : 'not JSON');
  }
  if (text === undefined) throw new JsonRefused('malformed', 'it becomes undefined');
  if (isLarger(text, maxBytes)) throw new JsonRefused('too-large', `more than ${maxBytes} bytes as JSON`);
  if (isDeeper(text, maxDepth)) throw new JsonRefused('too-deep', `nested more than ${maxDepth} deep`);
  return text;
}

/** Is a value nested deeper than `maxDepth`? For what comes as a value: a message of another thread or process, an embedding program's data. */
export function isValueDeeper(value: unknown, maxDepth = MAX_VALUE_DEPTH): boolean {
  if (typeof value !== 'object' || value === null) return false;
  if (maxDepth === 0) return true;
  if (Array.isArray(value)) return value.some((item) => isValueDeeper(item, maxDepth - 1));
  for (const key in value) if (isValueDeeper((value as Record<string, unknown>)[key], maxDepth - 1)) return true;
  return false;
}

function decode(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes);
  } catch {
    throw new JsonRefused('malformed', notUtf8(bytes));
  }
}
