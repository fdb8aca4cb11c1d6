import type * as v from 'valibot';
import { PeerworkError } from '../errors.js';
import { jobFilesSchema } from './files.js';
import { type CheckedJob, type FieldSpec, fieldSpec, type JobField, jobFieldNames } from './job-fields.js';
import { check, choice, flag, integer, jsonText, labels, text, texts, weight } from './kinds.js';
import { MAX_DELAY_MS } from './limits.js';

type Schema = v.GenericSchema<unknown, unknown>;

function schemaOf(spec: FieldSpec): Schema {
  switch (spec.kind) {
    case 'text':
      return text(spec.maxChars);
    case 'texts':
      return texts(spec.max, spec.maxChars);
    case 'labels':
      return labels(spec.max, spec.maxChars);
    case 'integer':
      return integer(spec.min, spec.max);
    case 'duration':
    case 'instant':
      return integer(0, spec.max);
    case 'weight':
      return weight;
    case 'flag':
      return flag;
    case 'choice':
      return choice(spec.of);
    case 'json':
      return jsonText(spec.maxBytes);
    case 'files':
      return jobFilesSchema;
  }
}

/** The schema of each field's value. */
export const jobSchemas: ReadonlyMap<string, Schema> = new Map(jobFieldNames.map((field) => [field, schemaOf(fieldSpec(field))]));

/** The defaults of a job. Copied for every job, so that all jobs have their properties in the same order. */
const defaults = Object.fromEntries(
  jobFieldNames.map((field) => {
    const { default: value } = fieldSpec(field);
    return [field, value === undefined ? undefined : check(jobSchemas.get(field) as Schema, value, field)];
  }),
) as Record<JobField, unknown>;

/**
 * Validates a job and fills in the defaults. Throws `job-invalid` naming the field. Falsy values are ordinary values; `undefined` means
 * missing. With `now`, also refuses instants too far from it.
 */
export function checkJobInput(input: unknown, now?: number): CheckedJob {
  if (typeof input !== 'object' || input === null || Array.isArray(input)) throw invalid('it is not an object');
  const values: Record<JobField, unknown> = { ...defaults };
  for (const field in input) {
    const schema = jobSchemas.get(field);
    if (schema === undefined) throw invalid(`there is no field ${quote(field)}`);
    const value = (input as Readonly<Record<string, unknown>>)[field];
    if (value !== undefined) values[field as JobField] = check(schema, value, field);
  }
  const job = values as CheckedJob;
  if (values.data === undefined) throw invalid('data is missing');
  const { runAt } = job;
  if (runAt !== undefined) checkJobField('runAt', runAt, now);
  if (runAt !== undefined && job.delayMs > 0) throw invalid('runAt and delayMs exclude each other');
  if (job.keyWindowMs !== undefined && job.key === undefined) throw invalid('keyWindowMs needs a key');
  if (job.persistent && job.key !== undefined) throw invalid('a persistent job has no key: it never has an outcome to share');
  if (job.id !== undefined && job.parents.includes(job.id)) throw new PeerworkError('graph-cycle', quote(job.id));
  return job;
}

/** Validates one field and returns its stored form; throws `job-invalid`. With `now`, also refuses an instant too far from it. */
export function checkJobField<F extends JobField>(field: F, value: unknown, now?: number): NonNullable<CheckedJob[F]> {
  const schema = field === 'runAt' && now !== undefined ? integer(0, now + MAX_DELAY_MS) : (jobSchemas.get(field) as Schema);
  return check(schema, value, field) as NonNullable<CheckedJob[F]>;
}

function quote(text: string): string {
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}…` : text);
}

function invalid(detail: string): PeerworkError {
  return new PeerworkError('job-invalid', detail);
}
