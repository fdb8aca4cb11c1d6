import { MAX_VALUE_DEPTH } from '../kit/json.js';

/**
 * Finds the first value that JSON.stringify would silently drop or change, and returns its path and the reason: a job must reach its task
 * unchanged. Properties that are undefined are left out, as everywhere in JavaScript, and `toJSON` is trusted.
 */
export function lossIn(value: unknown): string | undefined {
  const fault = faultIn(value, 0);
  return fault === undefined ? undefined : shorten(fault).trimStart();
}

function faultIn(value: unknown, depth: number): string | undefined {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return undefined;
    case 'number':
      return Number.isFinite(value) ? undefined : ` is ${value}`;
    case 'undefined':
      return ' is undefined';
    case 'object':
      break;
    default:
      return ` is a ${typeof value}`;
  }
  if (value === null) return undefined;
  if (depth === MAX_VALUE_DEPTH) return ` is nested more than ${MAX_VALUE_DEPTH} deep, or refers to itself`;
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index += 1) {
      const fault = faultIn(value[index], depth + 1);
      if (fault !== undefined) return `[${index}]${fault}`;
    }
    return undefined;
  }
  if (value instanceof Date && Number.isNaN(value.getTime())) return ' is an invalid Date';
  if (typeof (value as { toJSON?: unknown }).toJSON === 'function') return undefined;
  const kind = Object.prototype.toString.call(value).slice(8, -1);
  if (kind !== 'Object') return ` is a ${kind}`;
  const entries = Object.entries(value);
  if (entries.length === 0 && !isPlain(value)) return ` is a ${nameOf(value)}, of which JSON keeps nothing`;
  for (const [key, item] of entries) {
    const fault = item === undefined ? undefined : faultIn(item, depth + 1);
    if (fault !== undefined) return `.${key}${fault}`;
  }
  return undefined;
}

/** Returns whether the value is an object literal of any realm, which has nothing but its properties. */
function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

function nameOf({ constructor: made }: object): string {
  return typeof made === 'function' && made.name !== '' ? made.name.slice(0, 40) : 'class instance';
}

/** Bounds the message: a path may have hundreds of keys, each of any length. */
function shorten(fault: string): string {
  return fault.length > 200 ? `${fault.slice(0, 80)}…${fault.slice(-120)}` : fault;
}
