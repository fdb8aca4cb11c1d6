import type { CommandName } from './command.js';

/** Declaration of one option of the command line. */
export interface OptionSpec<T, D extends T | undefined = T | undefined> {
  /** In commander's syntax, such as `--name <text>`. A flag without an argument means yes; with the prefix `--no-`, no. */
  readonly flag: string;
  /** Environment variable; absent if the option is a flag only. */
  readonly env?: string;
  /** Commands that take it; those that start a Worker take whatever `worker` takes. */
  readonly commands: readonly CommandName[];
  readonly meaning: string;
  /** The allowed values in words; completes "must be …". */
  readonly allowed: string;
  readonly unit?: string;
  readonly default: D;
  /** Describes a default that is not a plain value. */
  readonly defaultText?: string;
  /** Never shown in errors or logs. */
  readonly secret?: boolean;
  /** Redacts a value for error messages, if part of it is secret. */
  readonly show?: (text: string) => string;
  /** The flag can be repeated; in a variable, values are separated by blanks or commas. */
  readonly many?: boolean;
  /** Parses the given values; undefined if they are not allowed. */
  readonly parse: (given: readonly string[]) => T | undefined;
}

/** Declares an option; only there for type inference. */
export function option<T, const D extends T | undefined>(spec: OptionSpec<T, D>): OptionSpec<T, D> {
  return spec;
}

/** Options declared by the core or a wire, by the name used in code. */
export type OptionTable = Readonly<Record<string, OptionSpec<unknown>>>;

/** The parsed values of an option table. */
export type OptionsOf<T extends OptionTable> = {
  readonly [K in keyof T]: T[K] extends OptionSpec<infer V, infer D> ? V | Extract<D, undefined> : never;
};
