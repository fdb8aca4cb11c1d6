import { PeerworkError } from '../errors.js';
import { type JsonRefused, parseJson } from '../kit/json.js';
import type { Json } from './job.js';
import { GIVEN_VALUE } from './limits.js';

/**
 * The one key of a job's data that holds a whole queue-xec payload. A task sees such a job as it was pushed: `id` is unchanged, of any JSON, and all
 * other fields are present. Our own fields (`channel`, `attempt` …) are added only if the payload has no field of that name.
 */
export const PUSHED = 'queue-xec:job';

/** Data of a job whose task receives `payload`. */
export function pushedData(payload: Json): Json {
  return { [PUSHED]: payload };
}

/** The payload in a job's data; undefined for ordinary data. */
export function pushedIn(data: unknown): Json | undefined {
  if (typeof data !== 'object' || data === null || Array.isArray(data)) return undefined;
  const keys = Object.keys(data);
  return keys.length === 1 && keys[0] === PUSHED ? (data as { readonly [PUSHED]: Json })[PUSHED] : undefined;
}

/** As queue-xec reads its argument: a text is the JSON of the job, anything else is the job. Throws `job-invalid`. */
export function readPayload(payload: unknown): unknown {
  if (payload === undefined) throw new PeerworkError('job-invalid', 'payload is undefined');
  if (typeof payload !== 'string') return payload;
  try {
    return parseJson(payload, GIVEN_VALUE);
  } catch (thrown) {
    throw new PeerworkError('job-invalid', `a text must be the JSON of a job: ${(thrown as JsonRefused).message}`);
  }
}
