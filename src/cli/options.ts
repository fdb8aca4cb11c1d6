import { homedir } from 'node:os';
import { join, parse as parsePath } from 'node:path';
import { Command, Option } from 'commander';
import { parse as parseDotenv } from 'dotenv';
import * as v from 'valibot';
import { DEFAULT_HOME } from '../config/defaults.js';
import { PeerworkError } from '../errors.js';
import { LOCAL_JSON, parseJson } from '../kit/json.js';
import { conceal, holdsToken, withoutSecrets } from '../log.js';
import { isWritable, readDotenvText } from './dotenv-file.js';
import {
  type CommandName,
  longFlag,
  type OptionName,
  type OptionSpec,
  type Options,
  optionNames,
  optionSpec,
  optionsOf,
} from './option-table.js';
import { programNames } from './wires.js';

/** Values as given: flags override the environment, which overrides `.env`. An empty variable counts as absent. */
export interface OptionSources {
  /** By option name; several texts if the flag was repeated. */
  readonly flags?: Readonly<Partial<Record<OptionName, string | boolean | readonly string[]>>>;
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly dotenv?: Readonly<Record<string, string | undefined>>;
  /** Replacements for defaults, by option name. */
  readonly preset?: Readonly<Partial<Record<OptionName, string>>>;
}

/**
 * Resolves and validates the options of a command. Throws `option-invalid` with the option, its value (unless secret) and what is
 * allowed.
 */
export function resolveOptions(command: CommandName, sources: OptionSources): Options {
  const resolved: Record<string, unknown> = {};
  const own = new Set(optionsOf(command));
  for (const name of optionNames) resolved[name] = own.has(name) ? resolveOption(name, optionSpec(name), sources) : undefined;
  return resolved as unknown as Options;
}

/** Resolves a single option. */
export function resolveOption(name: OptionName, spec: OptionSpec<unknown>, sources: OptionSources): unknown {
  const { flags = {}, env = {}, dotenv = {}, preset = {} } = sources;
  const fallbackValue = preset[name] ?? spec.default;
  const flag = flags[name];
  if (flag !== undefined) {
    const given = typeof flag === 'boolean' ? [flag ? 'yes' : 'no'] : typeof flag === 'string' ? [flag] : flag;
    return readOption(spec, given, longFlag(spec));
  }
  if (spec.env === undefined) return fallbackValue;
  // Shells such as cmd.exe keep the blank before `&&`; in a file, quoted blanks are intended.
  const [given, written] = [env[spec.env]?.trim(), dotenv[spec.env]];
  if (given) return readOption(spec, spec.many ? listOf(given, spec.env) : [given], `${spec.env} in the environment`);
  if (written?.trim())
    return readOption(spec, spec.many || LIST.test(written) ? listOf(written, spec.env) : [written], `${spec.env} in .env`);
  return fallbackValue;
}

const LIST = /^\s*\["/;

/** Splits a variable into several values: separated by blanks or commas, or a JSON list if they contain such characters. */
export function listOf(text: string, where = ''): readonly string[] {
  if (!LIST.test(text)) return text.trim().split(/[\s,]+/);
  try {
    return v.parse(v.array(v.string()), parseJson(text, LOCAL_JSON));
  } catch {
    throw new PeerworkError('option-invalid', `${where} begins as a JSON list of texts, but is none`);
  }
}

/** Joins values so that `listOf` returns them again. */
export function listText(values: readonly string[]): string {
  return values.some((value) => /[\s,]/.test(value) || LIST.test(value)) ? jsonList(values) : values.join(' ');
}

/** Formats a single value for `.env`: as a list of one if it cannot be written otherwise. */
export function singleText(value: string): string {
  return value.trim() === '' || LIST.test(value) || !isWritable(value) ? jsonList([value]) : value;
}

function jsonList(values: readonly string[]): string {
  return JSON.stringify(values).replaceAll("'", '\\u0027').replaceAll('`', '\\u0060');
}

/** Parses and validates one value; `where` names its origin. */
export function readOption(spec: OptionSpec<unknown>, given: readonly string[], where: string): unknown {
  if (spec.secret) for (const secret of given) conceal(secret);
  else if (given.some(holdsToken)) throw new PeerworkError('option-invalid', `${where} holds a token, which others would see there`);
  const value = given.includes('') ? undefined : spec.parse(given);
  if (value !== undefined) return value;
  const shown = spec.secret ? '' : ` is ${given.map((text) => JSON.stringify(withoutSecrets(spec.show?.(text) ?? text))).join(' ')}, but`;
  throw new PeerworkError('option-invalid', `${where}${shown} must be ${spec.allowed}`);
}

/** Not `--env-file`: Node 20 interprets that one itself, wherever it appears. */
export const DOTENV_FLAG = '--dotenv <file>';
export const DEFAULT_DOTENV = '.env';

/** Creates a command with the flags that the table declares for it. */
export function commandWithOptions(name: CommandName, summary: string): Command {
  const command = new Command(name).description(summary);
  for (const option of optionsOf(name).flatMap((key) => flagsOf(key))) command.addOption(option);
  return command.option(DOTENV_FLAG, 'Where variables are read from.', DEFAULT_DOTENV);
}

/** Resolves and validates everything given to a command. */
export async function readOptions(command: Command, name: CommandName): Promise<Options> {
  const flags: Record<string, string | boolean | readonly string[]> = {};
  const values: Readonly<Record<string, unknown>> = command.opts();
  for (const key of optionsOf(name)) {
    const value = values[attributeOf(key)];
    if (typeof value === 'string' || typeof value === 'boolean' || Array.isArray(value)) flags[key] = value;
  }
  return resolveOptions(name, { flags, env: process.env, dotenv: await readDotenv(dotenvFile(command)), preset: presetOf(command) });
}

/** Returns the replacements for defaults that apply if the program was called by another name. */
export function presetOf(command: Command): NonNullable<OptionSources['preset']> {
  const program = command.parent?.name();
  if (program === undefined || !programNames.includes(program)) return {};
  // Units and scripts written for a program refer to its service by that name as well. A unit without a working directory starts in
  // the root.
  const folder = process.cwd();
  return { serviceName: program, ...(folder === parsePath(folder).root && { home: join(homedir(), DEFAULT_HOME) }) };
}

/** Returns the path of the `.env` that this command uses. */
export function dotenvFile(command: Command): string {
  return String(command.opts()['dotenv'] ?? DEFAULT_DOTENV);
}

/** Returns the variables of a `.env` file; none if there is no such file. */
export async function readDotenv(file: string): Promise<Record<string, string>> {
  return parseDotenv(joinToken(await readDotenvText(file)));
}

/** Joins a token that a terminal or an editor has broken into lines: dotenv would take the first line and drop the others. */
function joinToken(text: string): string {
  const cut = /^([ \t]*(?:export[ \t]+)?token[ \t]*=[ \t]*(?:Token:[ \t]*)?pw1\.[\w-]*)((?:\r?\n[ \t]*[\w-]+[ \t]*(?=\r?\n|$))+)/m;
  return text.replace(cut, (_, start: string, rest: string) => start + rest.replace(/\s/g, ''));
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

/** Returns the attribute name that commander gives the option. */
export function attributeOf(key: OptionName): string {
  return new Option(optionSpec(key).flag).attributeName();
}
