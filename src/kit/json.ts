import { findInexactNumber } from './json-numbers.js';
import { isDeeper, isMore } from './json-scan.js';
import { notUtf8 } from './utf8.js';

/**
 * The only place that parses foreign JSON: from a child process, a peer, HTTP, a foreign server, a tracker, a file.
 *
 * `JSON.parse` accepts a million levels, but most code that handles the value afterwards is recursive: JSON.stringify fails at
 * 5,000 levels, a validator or `structuredClone` earlier. Size and depth are therefore checked on the text, before a value exists.
 *
 * A key `__proto__` becomes an own property, as JSON.parse makes it, so that what a user sends arrives unchanged. It sets no
 * prototype as long as nothing copies foreign keys by assignment: use spread, a Map or a validator, never `Object.assign` or
 * `target[key] = …`.
 */

/** Default depth limit: deeper than anything people write, and far below where recursion over a value crashes a process. */
export const MAX_JSON_DEPTH = 512;
/**
 * Depth limit for a user's own value (a job's data, an output, progress). The difference to MAX_JSON_DEPTH leaves room for the
 * messages, lines and lists that carry it, so that a value accepted once passes every later check.
 */
export const MAX_VALUE_DEPTH = 500;

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

export interface JsonLimits {
  /** Size in bytes of UTF-8. */
  readonly maxBytes: number;
  /** Nesting of arrays and objects; default `MAX_JSON_DEPTH`. */
  readonly maxDepth?: number;
  /**
   * Values in all arrays and objects together. An empty object takes three bytes of text and 60 of memory. Default: as many as fit
   * into `maxBytes`.
   */
  readonly maxItems?: number;
  /** Refuses numbers that would be rounded, and reports where they are. For text written by users; text written by peerwork has none. */
  readonly exact?: boolean;
}

/** Limits for local files and programs: settings, records, the output of tools. */
export const LOCAL_JSON: JsonLimits = { maxBytes: 16 * 1024 * 1024 };

/** The reason a text is refused, with a message fit for users. */
export class JsonRefused extends Error {
  override readonly name = 'JsonRefused';
  readonly reason: 'too-large' | 'too-deep' | 'too-many' | 'malformed' | 'inexact';

  constructor(reason: JsonRefused['reason'], message: string) {
    super(message);
    this.reason = reason;
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

/** Parses JSON within limits. Throws `JsonRefused`. Bytes must be valid UTF-8. */
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

/** Like `parseJson`, but returns undefined instead of throwing, for callers that do not need the reason. */
export function tryParseJson(source: string | Uint8Array, limits: JsonLimits): unknown {
  try {
    return parseJson(source, limits);
  } catch {
    return undefined;
  }
}

/** Whether a text exceeds `maxBytes` in UTF-8. */
function isLarger(source: string | Uint8Array, maxBytes: number): boolean {
  if (typeof source !== 'string') return source.byteLength > maxBytes;
  if (source.length > maxBytes) return true;
  // A UTF-16 unit is at most three bytes of UTF-8, so only texts near the limit are encoded and counted.
  return source.length * 3 > maxBytes && new TextEncoder().encode(source).byteLength > maxBytes;
}

/** Serialises a foreign value, such as a program's own data, so that the text passes every later check. Throws `JsonRefused`. */
export function formatJson(value: unknown, { maxBytes, maxDepth = MAX_VALUE_DEPTH }: Omit<JsonLimits, 'maxItems' | 'exact'>): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch (error) {
    // The stack overflows at about 5,000 levels.
    if (error instanceof RangeError) throw new JsonRefused('too-deep', `nested more than ${maxDepth} deep`);
    throw new JsonRefused('malformed', error instanceof Error ? (error.message.split('\n')[0] ?? '') : 'not JSON');
  }
  if (text === undefined) throw new JsonRefused('malformed', 'it becomes undefined');
  if (isLarger(text, maxBytes)) throw new JsonRefused('too-large', `more than ${maxBytes} bytes as JSON`);
  if (isDeeper(text, maxDepth)) throw new JsonRefused('too-deep', `nested more than ${maxDepth} deep`);
  return text;
}

/**
 * Whether a value is nested deeper than `maxDepth`. For input that arrives as a value: a message of a thread or process, data of an
 * embedding program.
 */
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
