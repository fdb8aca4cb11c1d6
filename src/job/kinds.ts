import * as v from 'valibot';
import { PeerworkError } from '../errors.js';
import { formatJson, type JsonRefused } from '../kit/json.js';
import { lossIn } from './json-loss.js';
import { MAX_WEIGHT } from './limits.js';

/** Schemas for the fields of jobs, groups, workgroups and schedules. Their messages continue after the name of the field. */

/** Validates a value and returns it. Throws `job-invalid` naming the field, or the entry in it. */
export function check<T>(schema: v.GenericSchema<unknown, T>, value: unknown, field: string): T {
  const { success, output, issues } = v.safeParse(schema, value, FIRST_ISSUE);
  if (success) return output;
  const [{ message, path = [] }] = issues;
  const at = path.map(({ key }) => (typeof key === 'number' ? `[${key}]` : `.${key}`)).join('');
  throw new PeerworkError('job-invalid', `${field}${at}${/^[.[]/.test(message) ? '' : ' '}${message}`);
}

const FIRST_ISSUE = { abortEarly: true, abortPipeEarly: true };

/** Control characters would end up in terminals and file names; lone surrogates do not survive UTF-8. */
const UNPRINTABLE = /[\p{Cc}\p{Cs}]/u;

export const string = v.string('is not a string');

/** Text used as a name: nothing that would break a terminal, a file name or UTF-8. */
export const text = (maxChars: number) =>
  v.pipe(
    string,
    v.nonEmpty('is empty'),
    v.maxLength(maxChars, `has more than ${maxChars} characters`),
    v.check((value) => !UNPRINTABLE.test(value), 'holds control characters or broken Unicode'),
  );

const list = (max: number, maxChars: number) =>
  v.pipe(v.pipe(v.array(v.any(), 'is not a list'), v.maxLength(max, `has more than ${max} entries`)), v.array(text(maxChars)));

/** A list of texts without duplicates, in the given order. */
export const texts = (max: number, maxChars: number) =>
  v.pipe(
    list(max, maxChars),
    v.transform((values): readonly string[] => [...new Set(values)]),
  );

/** A list of labels in the form of `labelSet`. */
export const labels = (max: number, maxChars: number) =>
  v.pipe(
    list(max, maxChars),
    v.transform((values) => labelSet(values)),
  );

/** Turns -0 into 0. */
const unsigned = v.transform((value: number) => value + 0);

export const integer = (min: number, max: number) => {
  const message = `is not an integer from ${min} to ${max}`;
  return v.pipe(v.number(message), v.safeInteger(message), v.minValue(min, message), v.maxValue(max, message), unsigned);
};

const WEIGHT_PARTS = 1_000_000;

/** Returns whether the number is from 0 to MAX_WEIGHT with at most six decimals, which the ledger stores exactly. */
export function isWeight(value: number): boolean {
  return value >= 0 && value <= MAX_WEIGHT && Math.round(value * WEIGHT_PARTS) / WEIGHT_PARTS === value;
}

const WEIGHT_MESSAGE = `is not a number from 0 to ${MAX_WEIGHT} with at most six decimals`;

export const weight = v.pipe(v.number(WEIGHT_MESSAGE), v.check(isWeight, WEIGHT_MESSAGE), unsigned);

export const flag = v.boolean('is neither true nor false');

export const choice = <const T extends readonly string[]>(of: T) => v.picklist(of, `is none of ${of.join(', ')}`);

/** Any value that JSON represents exactly, converted to JSON text. */
export const jsonText = (maxBytes: number) =>
  v.pipe(
    v.unknown(),
    v.rawTransform<unknown, string>(({ dataset: { value }, addIssue, NEVER }) => {
      const loss = lossIn(value);
      if (loss !== undefined) {
        addIssue({ message: loss });
        return NEVER;
      }
      try {
        return formatJson(value, { maxBytes });
      } catch (thrown) {
        const { reason, message } = thrown as JsonRefused;
        addIssue({
          message:
            reason === 'too-large'
              ? `has more than ${maxBytes} bytes as JSON`
              : `${reason === 'too-deep' ? 'is' : 'is not JSON:'} ${message}`,
        });
        return NEVER;
      }
    }),
  );

/** Joins labels into one text that is equal for equal sets: sorted, without duplicates, one per line (labels contain no line breaks). */
export function labelSet(labels: readonly string[]): string {
  return [...new Set(labels)].sort().join('\n');
}

export function labelsOf(set: string): readonly string[] {
  return set === '' ? [] : set.split('\n');
}
