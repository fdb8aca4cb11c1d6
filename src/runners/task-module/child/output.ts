/** Decides whether a value can be sent as JSON without silently losing what the task meant to return. */

import {
  getPrototypeOf,
  isArray,
  isFiniteNumber,
  isView,
  keysOf,
  objectPrototype,
  slice,
  split,
  stringify,
  timeOf,
} from './primordials.js';

const MAX_DEPTH = 500;

export class UnsendableError extends Error {}

/**
 * Returns the JSON text of `value`; `undefined` becomes null. Throws UnsendableError with the path and a remedy. As usual in JavaScript,
 * keys with the value undefined and symbol keys are omitted, `toJSON` is trusted, and -0 becomes 0; anything else is kept or refused.
 */
export function toJsonText(value: unknown, place = 'output'): string {
  if (value === undefined) return 'null';
  check(value, place, 0);
  try {
    return stringify(value) ?? 'null';
  } catch (error) {
    throw new UnsendableError(error instanceof Error ? (split(error.message, '\n')[0] ?? '') : String(error));
  }
}

/** True for nearly all values in an output: the path to a value is assembled only if needed. */
function isKept(value: unknown): boolean {
  const type = typeof value;
  return type === 'string' || type === 'boolean' || (type === 'number' && isFiniteNumber(value));
}

function check(value: unknown, place: string, depth: number): void {
  if (value === null || isKept(value)) return;
  switch (typeof value) {
    case 'number':
      throw new UnsendableError(`${shorten(place)} is ${value}; use null, or a text`);
    case 'undefined':
      throw new UnsendableError(`${shorten(place)} is undefined; use null`);
    case 'bigint':
      throw new UnsendableError(`${shorten(place)} is a BigInt; use String(value)`);
    case 'object':
      checkObject(value as object, place, depth);
      return;
    default:
      throw new UnsendableError(`${shorten(place)} is a ${typeof value}`);
  }
}

function checkObject(value: object, place: string, depth: number): void {
  if (depth > MAX_DEPTH) throw new UnsendableError(`${shorten(place)} refers to itself or is nested more than ${MAX_DEPTH} deep`);
  if (isArray(value)) {
    for (let index = 0; index < value.length; index += 1) {
      const item: unknown = value[index];
      if (!isKept(item)) check(item, `${place}[${index}]`, depth + 1);
    }
    return;
  }
  const plain = isPlain(value);
  const hint = plain ? undefined : lossOf(value);
  if (hint !== undefined) throw new UnsendableError(`${shorten(place)} is ${hint}`);
  if ('toJSON' in value && typeof value.toJSON === 'function') return;
  const keys = keysOf(value);
  if (!plain && keys.length === 0) throw new UnsendableError(`${shorten(place)} is ${kindOf(value)}`);
  for (let at = 0; at < keys.length; at += 1) {
    const key = keys[at] ?? '';
    const item = (value as Record<string, unknown>)[key];
    if (item !== undefined && !isKept(item)) check(item, `${place}.${key}`, depth + 1);
  }
}

/** Whether it is an object literal, of any realm. */
function isPlain(value: object): boolean {
  const prototype = getPrototypeOf(value);
  return prototype === objectPrototype || prototype === null || getPrototypeOf(prototype) === null;
}

/** Describes an object whose content is not in properties that JSON reads, such as Headers. */
function kindOf(value: object): string {
  const { constructor: made } = value as { constructor?: unknown };
  const name = typeof made === 'function' && made.name !== '' ? slice(made.name, 0, 40) : 'class instance';
  const how =
    typeof (value as { entries?: unknown }).entries === 'function'
      ? 'use Object.fromEntries(value)'
      : 'return a plain object of what matters';
  return `a ${name}; ${how}`;
}

/** Describes a value that JSON would turn into nothing or nonsense. */
function lossOf(value: object): string | undefined {
  if (isView(value) || value instanceof ArrayBuffer) return 'binary; use base64: Buffer.from(value).toString("base64")';
  if (value instanceof Map) return 'a Map; use Object.fromEntries(value)';
  if (value instanceof Set) return 'a Set; use [...value]';
  if (value instanceof Promise) return 'a Promise; await it';
  if (value instanceof Error) return 'an Error; throw it, or return its message';
  if (value instanceof RegExp) return 'a RegExp; use value.source';
  if (value instanceof Date && !isFiniteNumber(timeOf(value))) return 'an invalid Date';
  if (value instanceof WeakMap || value instanceof WeakSet) return 'a WeakMap or WeakSet';
  return undefined;
}

function shorten(place: string): string {
  return place.length > 80 ? `${slice(place, 0, 80)}…` : place;
}
