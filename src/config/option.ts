import type { CommandName } from './command.js';

export interface OptionSpec<T, D extends T | undefined = T | undefined> {
  /** In commander's syntax, such as `--name <text>`. A flag without an argument means yes; with a `--no-` prefix, no. */
  readonly flag: string;
  /** Absent: a flag only. */
  readonly env?: string;
  /** Which take it; those that start a Worker take what `worker` takes. */
  readonly commands: readonly CommandName[];
  readonly meaning: string;
  /** The allowed values, in words; completes "must be …". */
  readonly allowed: string;
  readonly unit?: string;
  readonly default: D;
  /** Describes the default where it is not a plain value. */
  readonly defaultText?: string;
  /** Never shown, neither in errors nor in logs. */
  readonly secret?: boolean;
  /** Redacts a value for error messages, where part of it is secret. */
  readonly show?: (text: string) => string;
  /** The flag can be repeated; in a variable, values are separated by blanks or commas. */
  readonly many?: boolean;
  /** undefined: not allowed. */
  readonly parse: (given: readonly string[]) => T | undefined;
}

export function option<T, const D extends T | undefined>(spec: OptionSpec<T, D>): OptionSpec<T, D> {
  return spec;
}

/** What the core or a wire declares, by the name that code has for it. */
export type OptionTable = Readonly<Record<string, OptionSpec<unknown>>>;

/** The values of such a table, read. */
export type OptionsOf<T extends OptionTable> = {
  readonly [K in keyof T]: T[K] extends OptionSpec<infer V, infer D> ? V | Extract<D, undefined> : never;
};
