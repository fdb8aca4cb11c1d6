/**
 * Detects that a job has changed the built-ins of JavaScript and Node. Such a change cannot be undone reliably, so the process then takes
 * no further job. Values are compared: a getter that returns the old value at that moment is not detected.
 *
 * A loop over a thousand of them takes 20 µs, after every job. Compiled into straight-line code, sixty per function, it takes 3 µs: each
 * access then sees only one object, and V8 tracks by itself whether that has changed. Compiling all of them takes some 6 ms, which should
 * not delay the start of a process: each job pays for one more function.
 */
import { EventEmitter } from 'node:events';
import fs from 'node:fs';
import { Socket } from 'node:net';
import { Duplex, Readable, Writable } from 'node:stream';
import util from 'node:util';
import { getOwnPropertyDescriptor, ownKeys, push } from './primordials.js';

const CHECKED_AT_ONCE = 60;
/** Getters are compared one by one, 90 ns each: after the first job and then after every eighth. */
const GETTERS_EVERY = 8;

interface Watched {
  readonly target: object;
  readonly key: PropertyKey;
  readonly value: unknown;
}

interface Accessor {
  readonly target: object;
  readonly key: PropertyKey;
  readonly get: unknown;
  readonly set: unknown;
}

interface Counted {
  readonly target: object;
  readonly keys: number;
}

/** Documented switches that libraries set temporarily, and what Node itself replaces on first use. */
const SWITCHES: ReadonlySet<unknown> = new Set(['stackTraceLimit', 'prepareStackTrace', 'captureStackTrace', 'chdir']);
/** Restored individually. */
const APART: ReadonlySet<unknown> = new Set(['console', 'process', 'global', 'globalThis']);

const PLAIN = [String, Number, Boolean, BigInt, Symbol, Buffer, Map, Set].map(({ prototype }) => prototype as object);
const INHERITED = ['emit', 'on', 'once', 'push', 'read', 'write', 'end', 'pipe', 'toJSON', 'then', 'toString', 'valueOf'] as const;
const STREAMS = [EventEmitter, Socket, Readable, Writable, Duplex].map(({ prototype }) => prototype as object);

/** Objects of which getters are checked too: those that plain code uses implicitly. */
const WITH_GETTERS: ReadonlySet<object> = new Set<object>([
  ...[Object, Map, Set, RegExp, ArrayBuffer, SharedArrayBuffer, DataView, Symbol].map(({ prototype }) => prototype as object),
  Object.getPrototypeOf(Uint8Array.prototype) as object,
]);

export class Intrinsics {
  readonly #portions: (readonly Watched[])[] = [];
  /** The compiled portions, starting with the first. */
  readonly #checks: (() => boolean)[] = [];
  readonly #accessors: Accessor[] = [];
  readonly #counted: Counted[] = [];
  #jobs = 0;

  /** Takes the current state as the reference. */
  constructor() {
    const watched: Watched[] = [];
    const watch = (target: object, key: PropertyKey, value: unknown) => push(watched, { target, key, value });
    const iterator = (value: { [Symbol.iterator](): object }) => Object.getPrototypeOf(value[Symbol.iterator]()) as object;
    const targets = new Set<object>([
      ...[iterator([]), iterator(new Map()), iterator(new Set()), iterator(''), Object.getPrototypeOf(iterator([])) as object],
      ...[Object.getPrototypeOf(Uint8Array) as object, Object.getPrototypeOf(Uint8Array.prototype) as object],
      ...[async () => {}, function* () {}, async function* () {}].map((made) => Object.getPrototypeOf(made) as object),
      ...[Buffer, TextDecoder, TextEncoder, AbortController, AbortSignal, EventEmitter].flatMap((made) => [made, made.prototype]),
      ...STREAMS,
      ...[fs, fs.promises, util, process],
    ]);
    for (const key of ownKeys(globalThis)) {
      const found = getOwnPropertyDescriptor(globalThis, key);
      // Getters load something on first access.
      if (found === undefined || !('value' in found) || APART.has(key)) continue;
      const value: unknown = found.value;
      if (!isObject(value)) continue;
      watch(globalThis, key, value);
      targets.add(value);
      if (typeof value === 'function' && isObject(value.prototype)) targets.add(value.prototype);
    }
    for (const target of targets) this.#watchAll(target, watch);
    // Additions to these change how everything behaves: `toJSON`, `then`, a setter for an index.
    for (const { prototype } of [Object, Array]) this.#counted.push({ target: prototype, keys: ownKeys(prototype).length });
    // If added, these would hide inherited ones.
    for (const target of [...STREAMS, ...PLAIN])
      for (const key of INHERITED) watch(target, key, (target as Record<PropertyKey, unknown>)[key]);
    for (let from = 0; from < watched.length; from += CHECKED_AT_ONCE) push(this.#portions, watched.slice(from, from + CHECKED_AT_ONCE));
  }

  changed(): boolean {
    for (let at = 0; at < this.#portions.length; at += 1) {
      const check = this.#checks[at];
      if (check === undefined ? differs(this.#portions[at]) : !check()) return true;
    }
    this.#jobs += 1;
    if (this.#jobs % GETTERS_EVERY === 1 && this.#changedGetters()) return true;
    for (let at = 0; at < this.#counted.length; at += 1) {
      const counted = this.#counted[at];
      if (counted !== undefined && ownKeys(counted.target).length !== counted.keys) return true;
    }
    // Only now, because compiling uses what was just found to be unchanged.
    const next = this.#portions[this.#checks.length];
    if (next !== undefined) push(this.#checks, compile(next));
    return false;
  }

  #changedGetters(): boolean {
    for (let at = 0; at < this.#accessors.length; at += 1) {
      const accessor = this.#accessors[at];
      if (accessor === undefined) continue;
      const found = getOwnPropertyDescriptor(accessor.target, accessor.key);
      if (found?.get !== accessor.get || found?.set !== accessor.set) return true;
    }
    return false;
  }

  #watchAll(target: object, watch: (target: object, key: PropertyKey, value: unknown) => void): void {
    for (const key of ownKeys(target)) {
      if (SWITCHES.has(key)) continue;
      const found = getOwnPropertyDescriptor(target, key);
      if (found === undefined || found.configurable === false) continue;
      if (!('value' in found)) {
        if (WITH_GETTERS.has(target)) push(this.#accessors, { target, key, get: found.get, set: found.set });
      } else if (typeof found.value === 'function') watch(target, key, found.value);
    }
  }
}

function differs(watched: readonly Watched[] = []): boolean {
  for (let at = 0; at < watched.length; at += 1) {
    const each = watched[at];
    if (each !== undefined && (each.target as Record<PropertyKey, unknown>)[each.key] !== each.value) return true;
  }
  return false;
}

/** Compiles `() => target0.parse === value0 && …`, with generated names. */
function compile(watched: readonly Watched[]): () => boolean {
  const names: string[] = [];
  const values: unknown[] = [];
  const bind = (value: unknown) => {
    values.push(value);
    return `v${names.push(`v${names.length}`) - 1}`;
  };
  const targets = new Map<object, string>();
  const conditions = watched.map(({ target, key, value }) => {
    const name = targets.get(target) ?? bind(target);
    targets.set(target, name);
    const place = typeof key === 'string' && /^[a-z_$][\w$]*$/i.test(key) ? `.${key}` : `[${bind(key)}]`;
    return `${name}${place} === ${bind(value)}`;
  });
  const make = Function(...names, `return () => ${conditions.join(' && ')};`) as (...values: unknown[]) => () => boolean;
  return make(...values);
}

function isObject(value: unknown): value is object {
  return (typeof value === 'object' && value !== null) || typeof value === 'function';
}
