/**
 * The functions of JavaScript and Node that the process around a task uses, captured before any code of the task is loaded. A job that
 * changes `JSON.parse` or `Array.prototype` thus affects only itself.
 *
 * Rules in this folder: call methods on values of a job or of a line only through these; do not destructure, spread or `for…of` arrays
 * (each calls a method of `Array.prototype`); use nothing of typed arrays but their elements.
 */
import { mkdirSync, readdirSync, readSync, rmSync, writeSync } from 'node:fs';

type Method<T, A extends unknown[], R> = (this: T, ...args: A) => R;

/** `method.call(self, …args)`, even if `Function.prototype.call` was replaced. */
const uncurry = Function.prototype.bind.bind(Function.prototype.call) as unknown as <T, A extends unknown[], R>(
  method: Method<T, A, R>,
) => (self: T, ...args: A) => R;

export const { parse: parseJson, stringify } = JSON;
export const { apply, defineProperty, deleteProperty, getOwnPropertyDescriptor, getPrototypeOf, ownKeys, set: setProperty } = Reflect;
export const { keys: keysOf, create, prototype: objectPrototype } = Object;
export const { isArray } = Array;
export const { isView } = ArrayBuffer;
export const { ceil, max, min, round } = Math;
export const { isFinite: isFiniteNumber } = Number;
export const { cwd, chdir, exit, kill, umask } = process;
export const file = { mkdirSync, readdirSync, readSync, rmSync, writeSync } as const;
export const now = performance.now.bind(performance);
const unreffed = setTimeout(() => {}, 0);
clearTimeout(unreffed);
export const timer = { set: setTimeout, clear: clearTimeout, unref: uncurry(unreffed.unref) } as const;

export const push = uncurry(Array.prototype.push) as <T>(list: T[], item: T) => number;
export const pop = uncurry(Array.prototype.pop) as <T>(list: T[]) => T | undefined;
export const flat = uncurry(Array.prototype.flat) as (list: readonly unknown[]) => unknown[];
export const split = uncurry(String.prototype.split as (separator: string) => string[]);
export const slice = uncurry(String.prototype.slice);
export const startsWith = uncurry(String.prototype.startsWith);
export const includes = uncurry(String.prototype.includes);
export const indexOf = uncurry(String.prototype.indexOf);

export const timeOf = uncurry(Date.prototype.getTime);

export const byteLength = Buffer.byteLength;
export const Bytes = Uint8Array;
export const Words = Uint32Array;
export const Store = ArrayBuffer;
export const lastIndexOfByte = uncurry(Uint8Array.prototype.lastIndexOf);
export const copyInto = uncurry(Uint8Array.prototype.set);
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
export const decode = decoder.decode.bind(decoder);
const encoder = new TextEncoder();
export const encodeInto = encoder.encodeInto.bind(encoder);
