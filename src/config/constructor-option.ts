import type { OptionSpec } from './option.js';

/** Declaration of one option of a constructor, or of a function that makes a source, a runner or a server. */
export interface ConstructorOption {
  /** TypeScript type. */
  readonly type: string;
  /** Markdown. */
  readonly meaning: string;
  /** Markdown; absent if there is none, which only a required option can have. */
  readonly default?: string;
  /** The field is always present: the caller gives it, or the code has filled in its default. */
  readonly required?: true;
}

/** The options of one interface, by the name of its fields. */
export type ConstructorOptions = Readonly<Record<string, ConstructorOption>>;

/** Interfaces by the name that marks their generated parts: fields in the code, and a table in the docs. */
export type ConstructorTables = Readonly<Record<string, ConstructorOptions>>;

const UNITS: Readonly<Record<string, string>> = { milliseconds: 'ms', seconds: 's', MiB: 'MiB', MB: 'MB' };
const WORDS = new Set(['none', 'all', 'forever']);

/** Formats a default: values as code, words as they are, numbers with their unit. */
function formatDefault({ default: value, defaultText, unit = '' }: OptionSpec<unknown>): string {
  if (typeof value === 'boolean') return `\`${value}\``;
  const text = defaultText ?? String(value ?? 'none');
  if (/^\d+$/.test(text)) return amount(Number(text), UNITS[unit]);
  return WORDS.has(text) || !/^[\w.:/-]+$/.test(text) ? text : `\`${text}\``;
}

/** Formats a number that is a default, with its unit. */
export function amount(value: number, unit = ''): string {
  return [value.toLocaleString('en'), unit].join(' ').trim();
}

/** Derives a constructor option from a command-line option, except for the given fields. */
export function derivedFrom(spec: OptionSpec<unknown>, type: string, other: Partial<ConstructorOption> = {}): ConstructorOption {
  return { type, meaning: spec.meaning, default: formatDefault(spec), ...other };
}
