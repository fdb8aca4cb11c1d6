import { fieldSpec, type JobField, jobFieldNames } from './job-fields.js';

/** Formats instants and durations, both given in milliseconds, for a page or a terminal. */
export interface FactWords {
  readonly instant: (at: number) => string;
  readonly duration: (ms: number) => string;
}

/**
 * Returns a job's fields that differ from their defaults as pairs of label and text, for views of one job. Leaves out the fields in
 * `except` and JSON values, which are shown elsewhere.
 */
export function fieldFacts(job: object, except: readonly JobField[], words: FactWords): (readonly [label: string, text: string])[] {
  return jobFieldNames.flatMap((field) => {
    const { shown, kind, default: preset, label = labelOf(field) } = fieldSpec(field);
    const value = (job as Readonly<Record<string, unknown>>)[field];
    if (shown === undefined || kind === 'json' || except.includes(field) || value === undefined || value === preset) return [];
    if (kind === 'files') return [[label, Object.keys(value as object).join(', ')]];
    if (Array.isArray(value)) return value.length === 0 ? [] : [[label, value.join(', ')]];
    if (kind === 'instant' || kind === 'duration') return [[label, words[kind](value as number)]];
    return [[label, value === true ? 'yes' : String(value)]];
  });
}

/** Derives a label from a field's name: `backoffMs` becomes `Backoff`. */
function labelOf(field: string): string {
  const words = field.replace(/(Ms|At)$/, '').replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
  return words.charAt(0).toUpperCase() + words.slice(1);
}
