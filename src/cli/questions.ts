import { availableParallelism, hostname } from 'node:os';
import { DEFAULT_MEMORY_MB, longFlag, type OptionName, type Options, optionSpec } from '../config.js';
import { PeerworkError } from '../errors.js';
import { parseToken } from '../swarm/token.js';
import { given, readOption } from './options.js';

export type Answers = Partial<Record<OptionName, unknown>>;

/** Shorter than what the option table says. */
const MESSAGES: Readonly<Partial<Record<OptionName, string>>> = {
  name: 'Name of this worker:',
  concurrency: 'How many jobs at once:',
  memoryMb: 'Memory per job, in MiB:',
  allowInstallScripts: 'May dependencies of tasks run install scripts?',
};

const DEFAULTS: Readonly<Partial<Record<OptionName, () => unknown>>> = {
  name: hostname,
  concurrency: availableParallelism,
  memoryMb: () => DEFAULT_MEMORY_MB,
};

/** Asks on the terminal for these options, with what is there already as the answer; undefined if it was left with Ctrl-C. */
export function askFor(keys: readonly OptionName[], options: Options): Promise<Answers | undefined> {
  return unlessLeft(async () => {
    const { default: inquirer } = await import('inquirer');
    return given(await inquirer.prompt<Answers>(keys.map((key) => question(key, options))));
  });
}

/** undefined instead of inquirer's error if the owner pressed Ctrl-C or Ctrl-D at a question. */
export async function unlessLeft<T>(ask: () => Promise<T>): Promise<T | undefined> {
  try {
    return await ask();
  } catch (thrown) {
    if (thrown instanceof Error && thrown.name === 'ExitPromptError') return undefined;
    throw thrown;
  }
}

export function isAttended(): boolean {
  return process.stdin.isTTY === true && process.stdout.isTTY === true;
}

function question(key: OptionName, options: Options) {
  const before = options[key];
  const spec = optionSpec(key);
  if (!spec.flag.includes('<'))
    return { type: 'confirm' as const, name: key, message: MESSAGES[key] ?? spec.meaning, default: before === true };
  const check = (text: string) =>
    complaint(() => (key === 'token' ? parseToken(text) : readOption(spec, spec.many ? text.split(/[\s,]+/) : [text], longFlag(spec))));
  if (spec.secret) {
    // What is there already is kept by an empty answer; it is not shown.
    const what = key === 'token' ? 'Token of the Master' : (MESSAGES[key] ?? spec.meaning);
    const hint = before === undefined ? (key === 'token' ? ' (pw1.…):' : ' (Enter for none):') : ' (Enter keeps the present one):';
    return {
      type: 'password' as const,
      name: key,
      message: what + hint,
      mask: true,
      validate: (text: string) => (text === '' && (before !== undefined || key !== 'token') ? true : check(text.trim())),
      filter: (text: string) => (text === '' ? undefined : text.trim()),
    };
  }
  const preset = before ?? DEFAULTS[key]?.();
  return {
    type: 'input' as const,
    name: key,
    message: MESSAGES[key] ?? `${spec.meaning}\n ${longFlag(spec)}:`,
    default: preset === undefined ? '' : asText(preset),
    validate: (text: string) => (text.trim() === '' && preset === undefined ? true : check(text.trim())),
    filter: (text: string) => (text.trim() === '' ? undefined : text.trim()),
  };
}

/** As it is written into `.env`. */
export function asText(value: unknown): string {
  if (Array.isArray(value)) return value.join(' ');
  return typeof value === 'boolean' ? (value ? 'yes' : 'no') : String(value);
}

/** true, or what is wrong: as inquirer wants it. */
function complaint(check: () => unknown): true | string {
  try {
    check();
    return true;
  } catch (thrown) {
    return thrown instanceof PeerworkError ? thrown.detail || thrown.message : String(thrown);
  }
}
