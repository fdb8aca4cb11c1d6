import { PeerworkError } from '../errors.js';
import { DEFAULT_CHANNEL, type JobInput } from './job.js';
import {
  DEFAULT_ATTEMPTS,
  DEFAULT_BACKOFF_MS,
  MAX_ATTEMPTS,
  MAX_BACKOFF_MS,
  MAX_CHANNEL_CHARS,
  MAX_DELAY_MS,
  MAX_JOB_DATA_BYTES,
  MAX_JOB_ID_CHARS,
  MAX_PRIORITY,
  MAX_TIMEOUT_MS,
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
  readonly backoffMs: number;
}

const fields: ReadonlySet<string> = new Set<keyof JobInput>([
  'id',
  'data',
  'channel',
  'priority',
  'timeoutMs',
  'attempts',
  'delayMs',
  'backoffMs',
]);

/** Throws `job-invalid` with the field that is wrong. Falsy values are values like any other; `undefined` means missing. */
export function checkJobInput(input: unknown): CheckedJob {
  if (typeof input !== 'object' || input === null || Array.isArray(input)) throw refuse('it is not an object');
  const job = input as Readonly<Record<keyof JobInput, unknown>>;
  for (const field in job) if (!fields.has(field)) throw refuse(`there is no field ${quote(field)}`);
  return {
    id: job.id === undefined ? undefined : name(job.id, 'id', MAX_JOB_ID_CHARS),
    channel: job.channel === undefined ? DEFAULT_CHANNEL : name(job.channel, 'channel', MAX_CHANNEL_CHARS),
    data: jsonText(job.data),
    priority: integer(job.priority, 'priority', -MAX_PRIORITY, MAX_PRIORITY) ?? 0,
    timeoutMs: integer(job.timeoutMs, 'timeoutMs', 0, MAX_TIMEOUT_MS),
    attempts: integer(job.attempts, 'attempts', 1, MAX_ATTEMPTS) ?? DEFAULT_ATTEMPTS,
    delayMs: integer(job.delayMs, 'delayMs', 0, MAX_DELAY_MS) ?? 0,
    backoffMs: integer(job.backoffMs, 'backoffMs', 0, MAX_BACKOFF_MS) ?? DEFAULT_BACKOFF_MS,
  };
}

/** Control characters would end up in terminals and file names; half a surrogate pair does not survive UTF-8. */
const UNPRINTABLE = /[\p{Cc}\p{Cs}]/u;

function name(value: unknown, field: string, maxChars: number): string {
  if (typeof value !== 'string') throw refuse(`${field} is not a string`);
  if (value === '') throw refuse(`${field} is empty`);
  if (value.length > maxChars) throw refuse(`${field} has more than ${maxChars} characters`);
  if (UNPRINTABLE.test(value)) throw refuse(`${field} holds control characters or broken Unicode`);
  return value;
}

function integer(value: unknown, field: string, min: number, max: number): number | undefined {
  if (value === undefined) return undefined;
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < min || value > max)
    throw refuse(`${field} is not an integer from ${min} to ${max}`);
  // -0 becomes 0.
  return value + 0;
}

function jsonText(data: unknown): string {
  if (data === undefined) throw refuse('data is missing');
  let fault: string | undefined;
  let text: string | undefined;
  try {
    fault = faultIn(data);
    if (fault === undefined) text = JSON.stringify(data);
  } catch (thrown) {
    if (thrown instanceof RangeError) throw refuse('data is nested too deeply or refers to itself');
    throw refuse(`data is not JSON: ${thrown instanceof Error ? thrown.message : String(thrown)}`);
  }
  if (text === undefined) throw refuse(`data${fault ?? ' is undefined as JSON'}`);
  // A UTF-16 unit is at most 3 bytes of UTF-8: most texts need not be counted.
  if (text.length * 3 > MAX_JOB_DATA_BYTES && new TextEncoder().encode(text).length > MAX_JOB_DATA_BYTES)
    throw refuse(`data has more than ${MAX_JOB_DATA_BYTES} bytes as JSON`);
  return text;
}

/**
 * What JSON.stringify would drop or change without a word, as path and reason: a job must reach its task as it was given.
 * A key that is undefined is left out, as everywhere in JavaScript, and `toJSON` is trusted.
 */
function faultIn(value: unknown): string | undefined {
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
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index += 1) {
      const fault = faultIn(value[index]);
      if (fault !== undefined) return `[${index}]${fault}`;
    }
    return undefined;
  }
  if (typeof (value as { toJSON?: unknown }).toJSON === 'function') return undefined;
  const kind = Object.prototype.toString.call(value).slice(8, -1);
  if (kind !== 'Object') return ` is a ${kind}`;
  for (const [key, item] of Object.entries(value)) {
    const fault = item === undefined ? undefined : faultIn(item);
    if (fault !== undefined) return `.${key}${fault}`;
  }
  return undefined;
}

function quote(text: string): string {
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}…` : text);
}

function refuse(detail: string): PeerworkError {
  return new PeerworkError('job-invalid', detail);
}
