import { randomBytes } from 'node:crypto';
import type { JobInput, Json } from '../job/job.js';
import { MAX_JOB_ID_CHARS, VALUE_LIMITS } from '../job/limits.js';
import { pushedData, pushedIn, readPayload } from '../job/pushed.js';
import { tryParseJson } from '../kit/json.js';

const KEY_BYTES = 12;
const PUSHED_ID = new RegExp(`^qx\\.[0-9a-f]{${2 * KEY_BYTES}}(?:\\.(.+))?$`);

/** Options of a job besides queue-xec's payload. */
export type PushOptions = Omit<JobInput, 'id' | 'data' | 'meta'>;

/**
 * Converts a queue-xec payload to a job of ours. The payload's own `id` cannot identify a job in the ledger: programs count from 0
 * in each run, and queue-xec does one job per call. Our id starts with a unique part and, if short enough, ends with the payload's
 * id as JSON. Throws `job-invalid`.
 */
export function pushedJob(given: unknown, options: PushOptions = {}): JobInput {
  const payload = readPayload(given) as Json;
  return { ...options, id: newId(payload), data: pushedData(payload) };
}

/**
 * Reads from a job's id the payload `id` that it was pushed with: undefined if it was pushed differently, `unsaid` if the id does
 * not contain it.
 */
export function pushedIdIn(id: string): { readonly jobID: Json } | 'unsaid' | undefined {
  const [all, text] = PUSHED_ID.exec(id) ?? [];
  if (all === undefined) return undefined;
  const jobID = text === undefined ? undefined : tryParseJson(text, VALUE_LIMITS);
  return jobID === undefined ? 'unsaid' : { jobID: jobID as Json };
}

/** Reads the payload `id` from the job's data; undefined if the payload has none. */
export function pushedIdOf(data: unknown): Json | undefined {
  return idOf(pushedIn(data));
}

function newId(payload: unknown): string {
  const key = `qx.${randomBytes(KEY_BYTES).toString('hex')}`;
  const id = idOf(payload);
  const text = id === undefined ? undefined : jsonOf(id);
  // JSON leaves DEL and the control characters after it unescaped, but no id may contain them.
  const safe = text?.replace(/\p{Cc}/gu, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
  return safe === undefined || key.length + 1 + safe.length > MAX_JOB_ID_CHARS ? key : `${key}.${safe}`;
}

/** Returns undefined if the id is not valid JSON; the job as a whole is then refused elsewhere. */
function jsonOf(id: unknown): string | undefined {
  try {
    return JSON.stringify(id);
  } catch {
    return undefined;
  }
}

function idOf(payload: unknown): Json | undefined {
  return typeof payload === 'object' && payload !== null && !Array.isArray(payload) ? (payload as { id?: Json }).id : undefined;
}
