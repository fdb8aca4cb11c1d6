/** Describes a thrown value, with its causes and parts. It may be designed to throw again, or to change, whenever it is accessed. */
import type { ErrorPart } from '../../../kit/error-parts.js';
import { toJsonText } from './output.js';
import { isArray, push, slice } from './primordials.js';

const MAX_DEPTH = 6;
/** Of all causes and parts together. */
const MAX_PARTS = 24;
const MAX_CHARS = 4 * 1024;

export interface Failure {
  readonly message: string;
  readonly stack: string;
  readonly retry: boolean;
  readonly details: ErrorPart | undefined;
}

let left = 0;

export function failureOf(thrown: unknown): Failure {
  left = MAX_PARTS;
  try {
    if (!isError(thrown)) {
      const message = textOf(thrown);
      return { message, stack: '', retry: true, details: undefined };
    }
    const details = partOf(thrown, 0);
    const stack = read(thrown, 'stack');
    const retry = read(thrown, 'unrecoverable') !== true && read(thrown, 'retry') !== false;
    return { message: details.message, stack: typeof stack === 'string' ? stack : '', retry, details };
  } catch {
    return { message: UNSHOWABLE, stack: '', retry: true, details: undefined };
  }
}

const UNSHOWABLE = 'something that cannot be shown';

function partOf(thrown: unknown, depth: number): ErrorPart {
  left -= 1;
  if (!isError(thrown)) return { message: textOf(thrown) };
  const name = read(thrown, 'name');
  const code = read(thrown, 'code');
  const stack = read(thrown, 'stack');
  const part: { -readonly [Key in keyof ErrorPart]: ErrorPart[Key] } = { message: truncate(words(read(thrown, 'message'))) };
  if (typeof name === 'string') part.name = truncate(name);
  if (typeof code === 'string' || typeof code === 'number') part.code = truncate(`${code}`);
  if (typeof stack === 'string') part.stack = truncate(stack);
  if (part.message === '' && part.name === undefined) part.message = UNSHOWABLE;
  if (depth >= MAX_DEPTH) return part;
  const cause = read(thrown, 'cause');
  if (cause !== undefined && cause !== null && left > 0) part.cause = partOf(cause, depth + 1);
  const errors = read(thrown, 'errors');
  if (isList(errors)) {
    const parts: ErrorPart[] = [];
    for (let at = 0; at < errors.length && left > 0; at += 1) push(parts, partOf(read(errors, at), depth + 1));
    if (parts.length > 0) part.parts = parts;
  }
  return part;
}

/** Includes errors of another realm. */
function isError(value: unknown): value is object {
  if (typeof value !== 'object' || value === null) return false;
  try {
    return value instanceof Error || typeof read(value, 'stack') === 'string';
  } catch {
    return false;
  }
}

function isList(value: unknown): value is readonly unknown[] {
  try {
    return isArray(value);
  } catch {
    return false;
  }
}

function read(from: object, name: PropertyKey): unknown {
  try {
    return (from as Record<PropertyKey, unknown>)[name];
  } catch {
    return undefined;
  }
}

function words(value: unknown): string {
  return typeof value === 'string' ? value : value === undefined ? '' : textOf(value);
}

function textOf(value: unknown): string {
  if (typeof value === 'string') return truncate(value);
  try {
    return truncate(toJsonText(value));
  } catch {
    return UNSHOWABLE;
  }
}

function truncate(text: string): string {
  return slice(text, 0, MAX_CHARS);
}
