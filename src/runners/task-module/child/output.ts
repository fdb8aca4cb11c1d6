/** Decides whether a value can be sent as JSON without quietly losing what the task meant to return. */

import { isArray, isView, keysOf, slice, split, stringify } from './primordials.js';

const MAX_DEPTH = 500;

export class UnsendableError extends Error {}

/** JSON text of `value`; `undefined` becomes null. Throws UnsendableError with the place and what to do instead. */
export function toJsonText(value: unknown): string {
  if (value === undefined) return 'null';
  check(value, 'output', 0);
  try {
    return stringify(value) ?? 'null';
  } catch (error) {
    throw new UnsendableError(error instanceof Error ? (split(error.message, '\n')[0] ?? '') : String(error));
  }
}

function check(value: unknown, place: string, depth: number): void {
  switch (typeof value) {
    case 'string':
    case 'number':
    case 'boolean':
    case 'undefined':
      return;
    case 'bigint':
      throw new UnsendableError(`${place} is a BigInt; use String(value)`);
    case 'function':
      throw new UnsendableError(`${place} is a function`);
    case 'symbol':
      throw new UnsendableError(`${place} is a symbol`);
    case 'object':
      if (value !== null) checkObject(value, place, depth);
  }
}

function checkObject(value: object, place: string, depth: number): void {
  if (depth > MAX_DEPTH) throw new UnsendableError(`${shorten(place)} refers to itself or is nested more than ${MAX_DEPTH} deep`);
  if (isArray(value)) {
    for (let index = 0; index < value.length; index += 1) {
      const item: unknown = value[index];
      if (typeof item !== 'number' && typeof item !== 'string') check(item, `${place}[${index}]`, depth + 1);
    }
    return;
  }
  const hint = lossOf(value);
  if (hint !== undefined) throw new UnsendableError(`${place} is ${hint}`);
  if ('toJSON' in value && typeof value.toJSON === 'function') return;
  const keys = keysOf(value);
  for (let at = 0; at < keys.length; at += 1) {
    const key = keys[at] ?? '';
    check((value as Record<string, unknown>)[key], `${place}.${key}`, depth + 1);
  }
}

/** What JSON would make nothing or nonsense of. */
function lossOf(value: object): string | undefined {
  if (isView(value) || value instanceof ArrayBuffer) return 'binary; use base64: Buffer.from(value).toString("base64")';
  if (value instanceof Map) return 'a Map; use Object.fromEntries(value)';
  if (value instanceof Set) return 'a Set; use [...value]';
  if (value instanceof Promise) return 'a Promise; await it';
  if (value instanceof Error) return 'an Error; throw it, or return its message';
  if (value instanceof RegExp) return 'a RegExp; use value.source';
  if (value instanceof WeakMap || value instanceof WeakSet) return 'a WeakMap or WeakSet';
  return undefined;
}

function shorten(place: string): string {
  return place.length > 80 ? `${slice(place, 0, 80)}…` : place;
}
