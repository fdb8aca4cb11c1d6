import type { Json } from '../../../job/job.js';

/**
 * crew keeps whatever it is sent, and shows it again. Where the ledger keeps the same in other words (a name that is a number, a delay of null), or not
 * at all (fields that crew does not know), the words of the client are kept in the `meta` of the job, under `crew`.
 */
export type AsSent = Readonly<Record<string, Json>>;

export function asSentOf(meta: Json | undefined): AsSent {
  const kept = fieldsOf(meta)['crew'];
  return fieldsOf(kept);
}

/** `meta` with these words of the client; undefined takes a field out. */
export function withAsSent(meta: Json | undefined, changes: Readonly<Record<string, Json | undefined>>): Json {
  const { crew: _, ...others } = fieldsOf(meta);
  const crew = Object.fromEntries(Object.entries({ ...asSentOf(meta), ...changes }).filter(([, value]) => value !== undefined));
  return { ...others, ...(Object.keys(crew).length > 0 && { crew: crew as Json }) };
}

export function fieldsOf(value: Json | undefined): Readonly<Record<string, Json>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Readonly<Record<string, Json>>) : {};
}

/** A name that the ledger takes: a text of up to 200 characters that breaks no terminal. */
export function isName(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= 200 && !/[\p{Cc}\p{Cs}]/u.test(value);
}
