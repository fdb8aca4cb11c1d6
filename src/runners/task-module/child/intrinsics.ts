/**
 * Notices that a job has changed what comes with JavaScript and Node. It cannot be undone for sure, so the process then takes no further job.
 * Compared by value, a thousand of them in about 25 µs: a getter that gives the old value when asked here is not seen.
 */
import { EventEmitter } from 'node:events';
import fs from 'node:fs';
import { Socket } from 'node:net';
import { Duplex, Readable, Writable } from 'node:stream';
import util from 'node:util';
import { getOwnPropertyDescriptor, ownKeys, push } from './primordials.js';

interface Watched {
  readonly target: Record<PropertyKey, unknown>;
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

export class Intrinsics {
  readonly #watched: Watched[] = [];
  readonly #accessors: Accessor[] = [];
  readonly #counted: Counted[] = [];

  /** What there is now is what there shall be. */
  constructor() {
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
      this.#watch(globalThis, key, value);
      targets.add(value);
      if (typeof value === 'function' && isObject(value.prototype)) targets.add(value.prototype);
    }
    for (const target of targets) this.#watchAll(target);
    // What is added to these changes how everything behaves: `toJSON`, `then`, a setter for an index.
    for (const { prototype } of [Object, Array, Function, Promise])
      this.#counted.push({ target: prototype, keys: ownKeys(prototype).length });
    // Added, these would hide those that are inherited.
    for (const target of [...STREAMS, ...PLAIN])
      for (const key of INHERITED) this.#watch(target, key, (target as Record<PropertyKey, unknown>)[key]);
  }

  changed(): boolean {
    for (let at = 0; at < this.#watched.length; at += 1) {
      const watched = this.#watched[at];
      if (watched !== undefined && watched.target[watched.key] !== watched.value) return true;
    }
    for (let at = 0; at < this.#accessors.length; at += 1) {
      const accessor = this.#accessors[at];
      if (accessor === undefined) continue;
      const found = getOwnPropertyDescriptor(accessor.target, accessor.key);
      if (found?.get !== accessor.get || found?.set !== accessor.set) return true;
    }
    for (let at = 0; at < this.#counted.length; at += 1) {
      const counted = this.#counted[at];
      if (counted !== undefined && ownKeys(counted.target).length !== counted.keys) return true;
    }
    return false;
  }

  #watchAll(target: object): void {
    for (const key of ownKeys(target)) {
      if (SWITCHES.has(key)) continue;
      const found = getOwnPropertyDescriptor(target, key);
      if (found === undefined || found.configurable === false) continue;
      if (!('value' in found)) push(this.#accessors, { target, key, get: found.get, set: found.set });
      else if (typeof found.value === 'function') this.#watch(target, key, found.value);
    }
  }

  #watch(target: object, key: PropertyKey, value: unknown): void {
    push(this.#watched, { target: target as Record<PropertyKey, unknown>, key, value });
  }
}

function isObject(value: unknown): value is object {
  return (typeof value === 'object' && value !== null) || typeof value === 'function';
}
