import type { Json } from '../../../job/job.js';
import { GIVEN_MESSAGE, MAX_JOB_ID_CHARS, MAX_MESSAGE_BYTES } from '../../../job/limits.js';
import { type JsonRefused, parseJson } from '../../../kit/json.js';
import { outlineOf } from '../../../kit/json-outline.js';

/** A queue-xec job: any JSON value, though mostly an object with `id` and `data`. */
export interface ReadJob {
  /** The job as it was pushed. */
  readonly payload: Json;
  /** Its id as JSON text; empty if it has none. */
  readonly id: string;
  /** Id to display where a job must have a name. */
  readonly shownId: string;
}

/** A job that cannot be run as it was pushed; `id` is undefined if it cannot be determined. */
export interface RefusedJob {
  readonly fault: string;
  readonly id: string | undefined;
}

/** Parses a job. `serial` makes up the displayed id of a job that has none. */
export function readJob(text: string, serial: number): ReadJob | RefusedJob {
  let payload: Json;
  try {
    payload = parseJson(text, GIVEN_MESSAGE) as Json;
  } catch (thrown) {
    const outline = outlineOf(text, { maxBytes: MAX_MESSAGE_BYTES, maxDepth: 1 });
    const hasId = typeof outline === 'object' && outline !== null && 'id' in outline;
    return { fault: (thrown as JsonRefused).message, id: hasId ? JSON.stringify(outline.id) : undefined };
  }
  const hasId = typeof payload === 'object' && payload !== null && 'id' in payload;
  const id = hasId ? JSON.stringify((payload as { readonly id: Json }).id) : '';
  return { payload, id, shownId: shown(payload, id, serial) };
}

function shown(payload: Json, id: string, serial: number): string {
  if (id === '') return `queue-xec-${serial}`;
  const rawId = (payload as { readonly id: Json }).id;
  const text = typeof rawId === 'string' && rawId !== '' ? rawId : id;
  return text.replace(/[\p{Cc}\p{Cs}]/gu, '?').slice(0, MAX_JOB_ID_CHARS);
}
