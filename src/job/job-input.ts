import { PeerworkError } from '../errors.js';
import { formatJson, type JsonRefused, MAX_VALUE_DEPTH } from '../kit/json.js';
import { DEFAULT_CHANNEL, type JobInput, type ParentFailure } from './job.js';
import { labelSet } from './labels.js';
import {
  DEFAULT_ATTEMPTS,
  DEFAULT_BACKOFF_MS,
  MAX_ATTEMPTS,
  MAX_BACKOFF_MS,
  MAX_CHANNEL_CHARS,
  MAX_DELAY_MS,
  MAX_INSTANT,
  MAX_JOB_DATA_BYTES,
  MAX_JOB_ID_CHARS,
  MAX_LABEL_CHARS,
  MAX_LABELS,
  MAX_META_BYTES,
  MAX_PARENTS,
  MAX_PRIORITY,
  MAX_TIMEOUT_MS,
  MAX_WEIGHT,
} from './limits.js';

/** A job that can be accepted, with the defaults filled in. */
export interface CheckedJob {
  readonly id: string | undefined;
  readonly channel: string;
  /** JSON text. */
  readonly data: string;
  readonly priority: number;
  readonly timeoutMs: number | undefined;
  readonly attempts: number;
  readonly delayMs: number;
  readonly runAt: number | undefined;
  readonly backoffMs: number;
  readonly backoffFixed: boolean;
  readonly name: string | undefined;
  readonly group: string | undefined;
  /** Each once, in the order given. */
  readonly parents: readonly string[];
  readonly parentFailure: ParentFailure | undefined;
  readonly workgroup: string | undefined;
  readonly key: string | undefined;
  readonly keyWindowMs: number | undefined;
  readonly weight: number;
  readonly seed: boolean;
  /** As `labelSet` writes them. */
  readonly requires: string;
  readonly persistent: boolean;
  /** JSON text. */
  readonly meta: string | undefined;
}

const fieldNames = {
  id: 0,
  data: 0,
  channel: 0,
  priority: 0,
  timeoutMs: 0,
  attempts: 0,
  delayMs: 0,
  runAt: 0,
  backoffMs: 0,
  backoff: 0,
  name: 0,
  group: 0,
  parents: 0,
  parentFailure: 0,
  workgroup: 0,
  key: 0,
  keyWindowMs: 0,
  weight: 0,
  seed: 0,
  requires: 0,
  persistent: 0,
  meta: 0,
} as const satisfies Record<keyof JobInput, 0>;
const fields: ReadonlySet<string> = new Set(Object.keys(fieldNames));

/**
 * Throws `job-invalid` with the field that is wrong. Falsy values are values like any other; `undefined` means missing. With `now`, instants that are too
 * far from it are refused as well.
 */
export function checkJobInput(input: unknown, now?: number): CheckedJob {
  if (typeof input !== 'object' || input === null || Array.isArray(input)) throw refuse('it is not an object');
  const job = input as Readonly<Record<keyof JobInput, unknown>>;
  for (const field in job) if (!fields.has(field)) throw refuse(`there is no field ${quote(field)}`);
  const optional = (field: 'id' | 'channel' | 'name' | 'group' | 'workgroup' | 'key', maxChars: number) =>
    job[field] === undefined ? undefined : text(job[field], field, maxChars);
  const parents = texts(job.parents, 'parents', MAX_PARENTS, MAX_JOB_ID_CHARS);
  const checked: CheckedJob = {
    id: optional('id', MAX_JOB_ID_CHARS),
    channel: optional('channel', MAX_CHANNEL_CHARS) ?? DEFAULT_CHANNEL,
    data: jsonText(job.data, 'data'),
    priority: integer(job.priority, 'priority', -MAX_PRIORITY, MAX_PRIORITY) ?? 0,
    timeoutMs: integer(job.timeoutMs, 'timeoutMs', 0, MAX_TIMEOUT_MS),
    attempts: integer(job.attempts, 'attempts', 1, MAX_ATTEMPTS) ?? DEFAULT_ATTEMPTS,
    delayMs: integer(job.delayMs, 'delayMs', 0, MAX_DELAY_MS) ?? 0,
    runAt: integer(job.runAt, 'runAt', 0, now === undefined ? MAX_INSTANT : now + MAX_DELAY_MS),
    backoffMs: integer(job.backoffMs, 'backoffMs', 0, MAX_BACKOFF_MS) ?? DEFAULT_BACKOFF_MS,
    backoffFixed: oneOf(job.backoff, 'backoff', ['exponential', 'fixed']) === 'fixed',
    name: optional('name', MAX_JOB_ID_CHARS),
    group: optional('group', MAX_JOB_ID_CHARS),
    parents,
    parentFailure: oneOf(job.parentFailure, 'parentFailure', ['fail', 'wait', 'run']),
    workgroup: optional('workgroup', MAX_JOB_ID_CHARS),
    key: optional('key', MAX_JOB_ID_CHARS),
    keyWindowMs: integer(job.keyWindowMs, 'keyWindowMs', 0, MAX_DELAY_MS),
    weight: integer(job.weight, 'weight', 0, MAX_WEIGHT) ?? 1,
    seed: flag(job.seed, 'seed'),
    requires: labelSet(texts(job.requires, 'requires', MAX_LABELS, MAX_LABEL_CHARS)),
    persistent: flag(job.persistent, 'persistent'),
    meta: job.meta === undefined ? undefined : jsonText(job.meta, 'meta', MAX_META_BYTES),
  };
  if (checked.runAt !== undefined && checked.delayMs > 0) throw refuse('runAt and delayMs exclude each other');
  if (checked.keyWindowMs !== undefined && checked.key === undefined) throw refuse('keyWindowMs needs a key');
  if (checked.persistent && checked.key !== undefined) throw refuse('a persistent job has no key: it never has an outcome to share');
  if (checked.id !== undefined && parents.includes(checked.id)) throw new PeerworkError('graph-cycle', quote(checked.id));
  return checked;
}

/** Control characters would end up in terminals and file names; half a surrogate pair does not survive UTF-8. */
const UNPRINTABLE = /[\p{Cc}\p{Cs}]/u;

/** A text that people choose as a name: throws `job-invalid` for what would break a terminal, a file name or UTF-8. */
export function text(value: unknown, field: string, maxChars: number): string {
  if (typeof value !== 'string') throw refuse(`${field} is not a string`);
  if (value === '') throw refuse(`${field} is empty`);
  if (value.length > maxChars) throw refuse(`${field} has more than ${maxChars} characters`);
  if (UNPRINTABLE.test(value)) throw refuse(`${field} holds control characters or broken Unicode`);
  return value;
}

function texts(value: unknown, field: string, max: number, maxChars: number): readonly string[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw refuse(`${field} is not a list`);
  if (value.length > max) throw refuse(`${field} has more than ${max} entries`);
  return [...new Set(value.map((item, index) => text(item, `${field}[${index}]`, maxChars)))];
}

function oneOf<const T extends string>(value: unknown, field: string, known: readonly T[]): T | undefined {
  if (value === undefined) return undefined;
  const found = known.find((each) => each === value);
  if (found === undefined) throw refuse(`${field} is none of ${known.join(', ')}`);
  return found;
}

function flag(value: unknown, field: string): boolean {
  if (value !== undefined && typeof value !== 'boolean') throw refuse(`${field} is neither true nor false`);
  return value ?? false;
}

/** Throws `job-invalid`. */
export function integer(value: unknown, field: string, min: number, max: number): number | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < min || value > max)
    throw refuse(`${field} is not an integer from ${min} to ${max}`);
  // -0 becomes 0.
  return value + 0;
}

/** JSON text of what may be kept of a job; throws `job-invalid`. */
export function jsonText(data: unknown, field: string, maxBytes = MAX_JOB_DATA_BYTES): string {
  if (data === undefined) throw refuse(`${field} is missing`);
  try {
    const fault = faultIn(data, 0);
    if (fault !== undefined) throw refuse(`${field}${shorten(fault)}`);
    return formatJson(data, { maxBytes });
  } catch (thrown) {
    if (thrown instanceof PeerworkError) throw thrown;
    const { reason, message } = thrown as JsonRefused;
    if (reason === 'too-large') throw refuse(`${field} has more than ${maxBytes} bytes as JSON`);
    throw refuse(`${field} ${reason === 'too-deep' ? 'is' : 'is not JSON:'} ${message}`);
  }
}

/**
 * What JSON.stringify would drop or change without a word, as path and reason: a job must reach its task as it was given.
 * A key that is undefined is left out, as everywhere in JavaScript, and `toJSON` is trusted.
 */
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

/** An object literal, of whichever realm: all that it has are its keys. */
function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

function nameOf({ constructor: made }: object): string {
  return typeof made === 'function' && made.name !== '' ? made.name.slice(0, 40) : 'class instance';
}

/** A path may be hundreds of keys long, each as long as its author likes. */
function shorten(fault: string): string {
  return fault.length > 200 ? `${fault.slice(0, 80)}…${fault.slice(-120)}` : fault;
}

function quote(text: string): string {
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}…` : text);
}

function refuse(detail: string): PeerworkError {
  return new PeerworkError('job-invalid', detail);
}
