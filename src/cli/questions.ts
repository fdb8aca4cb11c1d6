import { availableParallelism, hostname } from 'node:os';
import { PassThrough } from 'node:stream';
import { StringDecoder } from 'node:string_decoder';
import { DEFAULT_MEMORY_MB } from '../config/defaults.js';
import { PeerworkError } from '../errors.js';
import { omitUndefined } from '../kit/omit.js';
import { unlessLeft } from '../kit/terminal.js';
import { holdsToken, withoutSecrets } from '../log.js';
import { parseToken, tokenIn } from '../swarm/token.js';
import { askHidden } from './hidden-answer.js';
import { longFlag, type OptionName, type Options, optionSpec } from './option-table.js';
import { listOf, listText, readOption } from './options.js';
import { wires } from './wires.js';

export type Answers = Partial<Record<OptionName, unknown>>;

/** Shorter than the meanings in the option table. */
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

/** Asks on the terminal for these options, with the current values as defaults; undefined if the user pressed Ctrl-C. */
export function askFor(keys: readonly OptionName[], options: Options): Promise<Answers | undefined> {
  return unlessLeft(async () => {
    const { default: inquirer } = await import('inquirer');
    const answers: Answers = {};
    for (const key of keys) {
      if (optionSpec(key).secret) {
        answers[key] = await askForSecret(key, options);
        continue;
      }
      const typed = withoutPastedSecrets(process.stdin);
      const prompt = inquirer.createPromptModule({ input: typed.input });
      Object.assign(answers, await prompt<Answers>([question(key, options)]).finally(typed.end));
    }
    return omitUndefined(answers);
  });
}

/**
 * Filters the keyboard input of a question whose answer is shown as it is typed: if a chunk, that is a paste, contains a token or
 * part of one, it is removed before the line editor sees it.
 */
function withoutPastedSecrets(stdin: NodeJS.ReadStream) {
  const input = Object.assign(new PassThrough(), { isTTY: true, setRawMode: (on: boolean) => stdin.setRawMode(on) });
  const decoder = new StringDecoder('utf8');
  const pass = (chunk: Buffer) => void input.write(withoutSecrets(decoder.write(chunk)));
  const leave = () => void input.end();
  stdin.on('data', pass).on('end', leave).resume();
  const end = () => {
    stdin.off('data', pass).off('end', leave).pause();
  };
  return { input, end };
}

/** Asks for a secret. An empty answer keeps the current value, which is not shown. */
function askForSecret(key: OptionName, options: Options): Promise<string | undefined> {
  const before = options[key];
  const spec = optionSpec(key);
  const isToken = key === 'token';
  const what = isToken ? 'Token of the Master' : (MESSAGES[key] ?? spec.meaning);
  const hint =
    before !== undefined ? ' (Enter keeps the present one):' : isToken && !servesOthers(options) ? ' (pw1.…):' : ' (Enter for none):';
  const accept = (text: string) => {
    if (text === '' && (before !== undefined || !isToken || servesOthers(options))) return undefined;
    const why = problemIn(() => (isToken ? parseToken(text) : readOption(spec, spec.many ? listOf(text) : [text], longFlag(spec))));
    if (why !== true) throw new Error(why);
    return isToken ? tokenIn(text) : text;
  };
  return askHidden({ message: what + hint, accept });
}

function question(key: OptionName, options: Options) {
  const before = options[key];
  const spec = optionSpec(key);
  if (!spec.flag.includes('<'))
    return { type: 'confirm' as const, name: key, message: MESSAGES[key] ?? spec.meaning, default: before === true };
  const check = (text: string) =>
    isSafe(key, text) ? problemIn(() => readOption(spec, spec.many ? listOf(text, longFlag(spec)) : [text], longFlag(spec))) : MISPLACED;
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

const MISPLACED = 'this looks like a token or a part of one, which does not belong here; clear it with Ctrl-U';

/** A name contains no long sequence of random characters; a path may. */
function isSafe(key: OptionName, text: string): boolean {
  return !text.includes('[secret]') && (key === 'name' ? withoutSecrets(text) === text : !holdsToken(text));
}

/** A Worker needs no token if it has another source to work for. */
function servesOthers(options: Options): boolean {
  return wires.some((source) => source.configured(options));
}

/** Formats a value as written to `.env`. */
export function asText(value: unknown): string {
  if (Array.isArray(value)) return listText(value);
  return typeof value === 'boolean' ? (value ? 'yes' : 'no') : String(value);
}

/** Returns true, or what is wrong, as inquirer expects it. */
function problemIn(check: () => unknown): true | string {
  try {
    check();
    return true;
  } catch (thrown) {
    return thrown instanceof PeerworkError ? thrown.detail || thrown.message : String(thrown);
  }
}
