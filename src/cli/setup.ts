import { availableParallelism, hostname } from 'node:os';
import type { Command } from 'commander';
import { DEFAULT_MEMORY_MB, type OptionName, type OptionSpec, type Options, optionSpec, optionsOf } from '../config.js';
import { PeerworkError } from '../errors.js';
import { parseToken } from '../swarm/token.js';
import { writeDotenv } from './dotenv-file.js';
import { attributeOf, dotenvFile, given, readOption, readOptions } from './options.js';

/** What is asked, in this order. The rest of the worker's options can be given as flags or written into `.env` by hand. */
const QUESTIONS = ['token', 'name', 'concurrency', 'memoryMb', 'allowInstallScripts'] as const satisfies readonly OptionName[];
type Answers = Partial<Record<OptionName, unknown>>;

/**
 * Writes the worker's `.env`. Asks on a terminal for what no flag gave; without a terminal, or with `--token` as a flag,
 * nothing is asked and what was not given stays as it is.
 */
export async function setup(command: Command): Promise<number> {
  const options = await readOptions(command, 'setup');
  const flags: Answers = command.opts();
  if (options.token !== undefined) parseToken(options.token);
  const attended = process.stdin.isTTY === true && process.stdout.isTTY === true && flags.token === undefined;
  if (!attended && options.token === undefined) throw new PeerworkError('token-missing', 'without a terminal, set-up needs `--token`');
  const answers = attended ? await ask(options, flags) : {};
  if (answers === undefined) {
    process.stdout.write('Cancelled, nothing was written.\n');
    return 130;
  }

  const file = dotenvFile(command);
  const variables: Record<string, string> = {};
  for (const key of optionsOf('setup')) {
    const { env } = optionSpec(key);
    // A token from the environment is kept too: the next start may not have that environment.
    const value = answers[key] ?? (key === 'token' || command.getOptionValueSource(attributeOf(key)) === 'cli' ? options[key] : undefined);
    if (env !== undefined && value !== undefined) variables[env] = asText(value);
  }
  await writeDotenv(file, variables);
  const start = process.argv[1]?.endsWith('worker.js') ? 'node worker.js' : 'peerwork worker';
  process.stdout.write(`Written to ${file} (only you can read it). Start the worker with \`${start}\`.\n`);
  return 0;
}

function asText(value: unknown): string {
  if (Array.isArray(value)) return value.join(' ');
  return typeof value === 'boolean' ? (value ? 'yes' : 'no') : String(value);
}

async function ask(options: Options, flags: Answers): Promise<Answers | undefined> {
  const { default: inquirer } = await import('inquirer');
  const wanted = QUESTIONS.filter((key) => flags[key] === undefined);
  const questions = wanted.map((key) => question(key, options));
  try {
    return given(await inquirer.prompt<Answers>(questions));
  } catch (thrown) {
    // Ctrl-C or Ctrl-D at a question: nothing has been written.
    if (thrown instanceof Error && thrown.name === 'ExitPromptError') return undefined;
    throw thrown;
  }
}

function question(key: (typeof QUESTIONS)[number], options: Options) {
  const before = options[key];
  if (key === 'allowInstallScripts')
    return { type: 'confirm' as const, name: key, message: 'May dependencies of tasks run install scripts?', default: before === true };
  if (key === 'token') {
    // What is there already is kept by an empty answer; it is not shown.
    const message = before === undefined ? 'Token of the Master (pw1.…):' : 'Token of the Master (Enter keeps the present one):';
    return {
      type: 'password' as const,
      name: key,
      message,
      mask: true,
      validate: (text: string) => (text === '' && before !== undefined ? true : complaint(() => parseToken(text))),
      filter: (text: string) => (text === '' ? undefined : text.trim()),
    };
  }
  return {
    type: 'input' as const,
    name: key,
    message: MESSAGES[key],
    default: String(before ?? DEFAULTS[key]()),
    validate: (text: string) => complaint(() => readOption(optionSpec(key) as OptionSpec<unknown>, [text.trim()], longName(key))),
    filter: (text: string) => text.trim(),
  };
}

const MESSAGES = {
  name: 'Name of this worker:',
  concurrency: 'How many jobs at once:',
  memoryMb: 'Memory per job, in MiB:',
} as const;

const DEFAULTS = { name: hostname, concurrency: availableParallelism, memoryMb: () => DEFAULT_MEMORY_MB } as const;

function longName(key: string): string {
  return `The ${key === 'memoryMb' ? 'memory' : key}`;
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
