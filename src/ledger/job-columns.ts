import {
  type FieldSpec,
  type FieldsWith,
  fieldSpec,
  type JobField,
  jobFieldNames,
  type jobFields,
  type Settled,
  type ShownFields,
} from '../job/job-fields.js';
import { labelsOf } from '../job/kinds.js';
import type { Value } from './driver.js';
import { storedJson } from './stored-json.js';

/** A job field that has a column of its own, with its encoding. */
export interface StoredField {
  readonly field: JobField;
  readonly column: string;
  readonly type: 'INTEGER' | 'TEXT';
  /** Encodes a checked value, or undefined. */
  readonly encode: (value: unknown) => Value;
  readonly decode: (value: NonNullable<Value>) => unknown;
}

const unchanged = (value: unknown): Value => (value ?? null) as Value;

function codecOf(spec: FieldSpec): Pick<StoredField, 'type' | 'encode' | 'decode'> {
  switch (spec.kind) {
    case 'flag':
      return { type: 'INTEGER', encode: (value) => (value === true ? 1 : 0), decode: (value) => value === 1 };
    case 'integer':
    case 'duration':
    case 'instant':
      return { type: 'INTEGER', encode: unchanged, decode: (value) => value };
    case 'choice': {
      const { of, byIndex = false } = spec;
      if (!byIndex) return { type: 'TEXT', encode: unchanged, decode: (value) => value };
      return { type: 'INTEGER', encode: (value) => of.indexOf(value as string), decode: (value) => of[value as number] };
    }
    case 'labels':
      return { type: 'TEXT', encode: (value) => (value === '' ? null : unchanged(value)), decode: (value) => labelsOf(String(value)) };
    case 'json':
      return { type: 'TEXT', encode: unchanged, decode: (value) => storedJson(String(value)) };
    case 'files':
      return {
        type: 'TEXT',
        encode: (value) => (value === undefined ? null : JSON.stringify(value)),
        decode: (value) => storedJson(String(value)),
      };
    case 'text':
      return { type: 'TEXT', encode: unchanged, decode: (value) => value };
    default:
      throw new Error(`a field of kind ${spec.kind} has no column of its own`);
  }
}

export const storedFields: readonly StoredField[] = jobFieldNames.flatMap((field) => {
  const spec = fieldSpec(field);
  return spec.column === undefined ? [] : [{ field, column: spec.column, ...codecOf(spec) }];
});

/** Returns the column list of a SELECT: the columns of all fields that `matches` accepts. */
export function columnsWhere(matches: (spec: FieldSpec) => boolean): string {
  return storedFields.flatMap(({ field, column }) => (matches(fieldSpec(field)) ? `job.${column}` : [])).join(', ');
}

/** Fields with a column of their own that responses show. */
type ShownColumns<S> = FieldsWith<{ readonly shown: S; readonly column: string }>;
/** Returns a function that reads the shown fields from a row. A field whose column is NULL has its default, or is absent. */
export function shownReader<S extends 'summary' | 'record'>(shown: S): (row: object) => ShownFields<S, ShownColumns<S>> {
  const fields = storedFields.flatMap(({ field, column, decode }) => {
    const spec = fieldSpec(field);
    return spec.shown === shown ? [{ field, column, decode, fallback: spec.default }] : [];
  });
  return (row) => {
    const shownFields: Record<string, unknown> = {};
    for (const { field, column, decode, fallback } of fields) {
      const value = (row as Readonly<Record<string, Value>>)[column] ?? null;
      if (value !== null) shownFields[field] = decode(value);
      else if (fallback !== undefined) shownFields[field] = fallback;
    }
    return shownFields as ShownFields<S, ShownColumns<S>>;
  };
}

type Table = typeof jobFields;
type Cell<S> = S extends { readonly kind: 'flag' } | { readonly byIndex: true }
  ? 0 | 1
  : S extends { readonly kind: 'integer' | 'duration' | 'instant' }
    ? number
    : string;

/** The columns of these fields as they appear in a row. */
export type ColumnsOf<F extends FieldsWith<{ readonly column: string }>> = {
  readonly [N in F as Table[N]['column']]: Cell<Table[N]> | (N extends Settled ? never : null);
};
