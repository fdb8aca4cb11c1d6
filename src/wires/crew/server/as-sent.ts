import type { Json } from '../../../job/job.js';
import { isFields } from '../fields.js';

/**
 * Values of a task exactly as the client sent them. crew stores what it is sent and returns it unchanged. Where the ledger stores a
 * normalized value (a name sent as a number, a null delay) or nothing at all (fields unknown to crew), the client's original value is kept
 * in the job's `meta`, under `crew`.
 */
export type AsSent = Readonly<Record<string, Json>>;

/** Returns the original values kept in a job's `meta`. */
export function asSentOf(meta: Json | undefined): AsSent {
  const kept = fieldsOf(meta)['crew'];
  return fieldsOf(kept);
}

/** Returns `meta` with these original values added; undefined removes a field. */
export function withAsSent(meta: Json | undefined, changes: Readonly<Record<string, Json | undefined>>): Json {
  const { crew: _, ...others } = fieldsOf(meta);
  const crew = Object.fromEntries(Object.entries({ ...asSentOf(meta), ...changes }).filter(([, value]) => value !== undefined));
  return { ...others, ...(Object.keys(crew).length > 0 && { crew: crew as Json }) };
}

/** Returns the value if it is a JSON object, otherwise an empty one. */
export function fieldsOf(value: Json | undefined): Readonly<Record<string, Json>> {
  return isFields(value) ? (value as Readonly<Record<string, Json>>) : {};
}

/**
 * Whether the ledger accepts the value as a name: 1 to 200 characters, without control characters or lone surrogates, which would garble a
 * terminal.
 */
export function isName(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= 200 && !/[\p{Cc}\p{Cs}]/u.test(value);
}
