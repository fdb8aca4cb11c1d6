/**
 * Notices that a job has changed what comes with JavaScript and Node. It cannot be undone for sure, so the process then takes no further job.
 * Compared by value: a getter that gives the old value when asked here is not seen.
 *
 * A loop over a thousand of them takes 20 µs, after every job. Written out, sixty to a function, it takes 3 µs: each place in the code then
 * sees one object only, and V8 knows by itself whether that has changed. To write them all out takes some 6 ms, which the start of a process
 * should not wait for: each job pays for one function more.
 */
import { EventEmitter } from 'node:events';
import fs from 'node:fs';
import { Socket } from 'node:net';
import { Duplex, Readable, Writable } from 'node:stream';
import util from 'node:util';
import { getOwnPropertyDescriptor, ownKeys, push } from './primordials.js';

const CHECKED_AT_ONCE = 60;
/** Getters are asked one by one, 90 ns each: after the first job and then after every eighth. */
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

/** What libraries set for a moment, by way of a documented switch; and what Node itself replaces when it is first used. */
const SWITCHES: ReadonlySet<unknown> = new Set(['stackTraceLimit', 'prepareStackTrace', 'captureStackTrace', 'chdir']);
/** Restored by themselves. */
const APART: ReadonlySet<unknown> = new Set(['console', 'process', 'global', 'globalThis']);

const PLAIN = [String, Number, Boolean, BigInt, Symbol, Buffer, Map, Set].map(({ prototype }) => prototype as object);
const INHERITED = ['emit', 'on', 'once', 'push', 'read', 'write', 'end', 'pipe', 'toJSON', 'then', 'toString', 'valueOf'] as const;
const STREAMS = [EventEmitter, Socket, Readable, Writable, Duplex].map(({ prototype }) => prototype as object);

/** Of these the getters too: those that plain code uses without knowing. */
const WITH_GETTERS: ReadonlySet<object> = new Set<object>([
  ...[Object, Map, Set, RegExp, ArrayBuffer, SharedArrayBuffer, DataView, Symbol].map(({ prototype }) => prototype as object),
  Object.getPrototypeOf(Uint8Array.prototype) as object,
]);

export class Intrinsics {
  readonly #portions: (readonly Watched[])[] = [];
  /** Of the portions from the first on, as far as they are written out. */
  readonly #checks: (() => boolean)[] = [];
  readonly #accessors: Accessor[] = [];
  readonly #counted: Counted[] = [];
  #jobs = 0;

  /** What there is now is what there shall be. */
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
      // Getters load something when they are asked for the first time.
      if (found === undefined || !('value' in found) || APART.has(key)) continue;
      const value: unknown = found.value;
      if (!isObject(value)) continue;
      watch(globalThis, key, value);
      targets.add(value);
      if (typeof value === 'function' && isObject(value.prototype)) targets.add(value.prototype);
    }
    for (const target of targets) this.#watchAll(target, watch);
    // What is added to these changes how everything behaves: `toJSON`, `then`, a setter for an index.
    for (const { prototype } of [Object, Array]) this.#counted.push({ target: prototype, keys: ownKeys(prototype).length });
    // Added, these would hide those that are inherited.
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
    // Only now: what writes them out uses what was just found to be unchanged.
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

/** `() => target0.parse === value0 && …`, over names of our own making. */
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
