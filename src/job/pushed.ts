import { PeerworkError } from '../errors.js';
import { type JsonRefused, parseJson } from '../kit/json.js';
import type { Json } from './job.js';
import { GIVEN_VALUE } from './limits.js';

/**
 * The single key of a job's data that wraps an entire queue-xec payload. The task receives such a job as it was pushed: `id` is unchanged
 * and may be any JSON, and all other fields are present. Our own fields (`channel`, `attempt` and so on) are added only where the payload
 * has no field of that name.
 */
export const PUSHED = 'queue-xec:job';

/** Wraps `payload` as the data of a job whose task receives it unchanged. */
export function pushedData(payload: Json): Json {
  return { [PUSHED]: payload };
}

/** Returns the payload in a job's data; undefined for ordinary data. */
export function pushedIn(data: unknown): Json | undefined {
  if (typeof data !== 'object' || data === null || Array.isArray(data)) return undefined;
  const keys = Object.keys(data);
  return keys.length === 1 && keys[0] === PUSHED ? (data as { readonly [PUSHED]: Json })[PUSHED] : undefined;
}

/** Reads an argument as queue-xec does: text is the JSON of the job, anything else is the job itself. Throws `job-invalid`. */
export function readPayload(payload: unknown): unknown {
  if (payload === undefined) throw new PeerworkError('job-invalid', 'payload is undefined');
  if (typeof payload !== 'string') return payload;
  try {
    return parseJson(payload, GIVEN_VALUE);
  } catch (thrown) {
    throw new PeerworkError('job-invalid', `a text must be the JSON of a job: ${(thrown as JsonRefused).message}`);
  }
}
