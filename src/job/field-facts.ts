import { fieldSpec, type JobField, jobFieldNames } from './job-fields.js';

/** How a page or a terminal writes instants and durations, both given in milliseconds. */
export interface FactWords {
  readonly instant: (at: number) => string;
  readonly duration: (ms: number) => string;
}

/**
 * A job's fields that differ from the default, as pairs of label and text, for views of one job. Fields in `except` and JSON values are shown
 * elsewhere.
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

/** `backoffMs` is shown as `Backoff`. */
function labelOf(field: string): string {
  const words = field.replace(/(Ms|At)$/, '').replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
  return words.charAt(0).toUpperCase() + words.slice(1);
}
