import { readFile } from 'node:fs/promises';
import { Command, Option } from 'commander';
import { parse as parseDotenv } from 'dotenv';
import {
  type Command as CommandName,
  longFlag,
  type OptionName,
  type OptionSpec,
  type Options,
  optionNames,
  optionSpec,
  optionsOf,
} from '../config.js';
import { PeerworkError } from '../errors.js';
import { textOrFault } from '../kit/utf8.js';
import { conceal } from '../log.js';

/** Values as they were given: flags beat the environment, which beats `.env`. An empty variable counts as absent. */
export interface OptionSources {
  /** By option name; several texts where the flag was given several times. */
  readonly flags?: Readonly<Partial<Record<OptionName, string | boolean | readonly string[]>>>;
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly dotenv?: Readonly<Record<string, string | undefined>>;
}

/** The options of a command, checked. Throws `option-invalid` with the option, its value (unless secret) and what is allowed. */
export function resolveOptions(command: CommandName, sources: OptionSources): Options {
  const resolved: Record<string, unknown> = {};
  const own = new Set(optionsOf(command));
  for (const name of optionNames) resolved[name] = own.has(name) ? resolveOption(name, optionSpec(name), sources) : undefined;
  return resolved as unknown as Options;
}

function resolveOption(name: OptionName, spec: OptionSpec<unknown>, { flags = {}, env = {}, dotenv = {} }: OptionSources): unknown {
  const flag = flags[name];
  if (flag !== undefined) {
    const given = typeof flag === 'boolean' ? [flag ? 'yes' : 'no'] : typeof flag === 'string' ? [flag] : flag;
    return readOption(spec, given, longFlag(spec));
  }
  if (spec.env === undefined) return spec.default;
  for (const [variables, place] of [
    [env, 'in the environment'],
    [dotenv, 'in .env'],
  ] as const) {
    const text = variables[spec.env]?.trim();
    if (text) return readOption(spec, spec.many ? text.split(/[\s,]+/) : [text], `${spec.env} ${place}`);
  }
  return spec.default;
}

/** One value, checked; `where` names the place it came from. */
export function readOption(spec: OptionSpec<unknown>, given: readonly string[], where: string): unknown {
  if (spec.secret) for (const secret of given) conceal(secret);
  const value = given.includes('') ? undefined : spec.parse(given);
  if (value !== undefined) return value;
  const shown = spec.secret ? '' : ` is ${given.map((text) => JSON.stringify(spec.show?.(text) ?? text)).join(' ')}, but`;
  throw new PeerworkError('option-invalid', `${where}${shown} must be ${spec.allowed}`);
}

/** Without the members that are undefined: what an optional argument of a constructor wants. */
export function given<T extends object>(values: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>;
  };
}

/** Not `--env-file`: Node 20 takes that one for itself wherever it stands. */
export const DOTENV_FLAG = '--dotenv <file>';
export const DEFAULT_DOTENV = '.env';

/** A command with the flags that the table declares for it. */
export function commandWithOptions(name: CommandName, summary: string): Command {
  const command = new Command(name).description(summary);
  for (const option of optionsOf(name).flatMap((key) => flagsOf(key))) command.addOption(option);
  return command.option(DOTENV_FLAG, 'Where variables are read from.', DEFAULT_DOTENV);
}

/** Everything that was given to a command, checked. */
export async function readOptions(command: Command, name: CommandName): Promise<Options> {
  const flags: Record<string, string | boolean | readonly string[]> = {};
  const values: Readonly<Record<string, unknown>> = command.opts();
  for (const key of optionsOf(name)) {
    const value = values[attributeOf(key)];
    if (typeof value === 'string' || typeof value === 'boolean' || Array.isArray(value)) flags[key] = value;
  }
  return resolveOptions(name, { flags, env: process.env, dotenv: await readDotenv(dotenvFile(command)) });
}

export function dotenvFile(command: Command): string {
  return String(command.opts()['dotenv'] ?? DEFAULT_DOTENV);
}

/** Throws `option-invalid` for a file that is not UTF-8: read as if it were, its variables would not be found. */
export async function readDotenvText(file: string): Promise<string> {
  const { text, fault } = textOrFault(await readFile(file));
  if (text !== undefined) return text;
  throw new PeerworkError('option-invalid', `${file} cannot be read: ${fault}`);
}

/** The variables of a `.env` file; none if there is no such file. */
export async function readDotenv(file: string): Promise<Record<string, string>> {
  try {
    return parseDotenv(await readDotenvText(file));
  } catch (thrown) {
    if (thrown instanceof PeerworkError) throw thrown;
    if (thrown instanceof Error && 'code' in thrown && thrown.code === 'ENOENT') return {};
    throw new PeerworkError('option-invalid', `${file} cannot be read: ${thrown instanceof Error ? thrown.message : thrown}`);
  }
}

function flagsOf(key: OptionName): Option[] {
  const spec = optionSpec(key);
  const fallback = spec.defaultText ?? spec.default;
  const unless = fallback === undefined ? '' : ` (default: ${fallback})`;
  const isSwitch = !spec.flag.includes('<');
  const opposite = longFlag(spec).replace('--', '--no-');
  const option = new Option(spec.flag, `${spec.meaning}${isSwitch ? ` Or ${opposite}.` : ''}${unless}`);
  if (spec.many) option.argParser((text: string, before: readonly string[] = []) => [...before, text]);
  return isSwitch ? [option, new Option(opposite).hideHelp()] : [option];
}

/** The name under which commander keeps the option. */
export function attributeOf(key: OptionName): string {
  return new Option(optionSpec(key).flag).attributeName();
}
