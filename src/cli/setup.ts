import { relative, resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { Command } from 'commander';
import { PeerworkError } from '../errors.js';
import { isAttended } from '../kit/terminal.js';
import { parseToken, tokenIn } from '../swarm/token.js';
import { writeDotenv } from './dotenv-file.js';
import { type CommandName, longFlag, type OptionName, type OptionSpec, optionSpec, optionsOf } from './option-table.js';
import { attributeOf, dotenvFile, listOf, readOptions, resolveOption, singleText } from './options.js';
import { type Answers, askFor, asText } from './questions.js';
import { acceptNoSandbox } from './wall.js';
import { programNames, wires } from './wires.js';

/** The questions in order. Other options of the worker can be given as flags or written to `.env` by hand. */
const QUESTIONS = ['token', 'name', 'concurrency', 'memoryMb', 'allowInstallScripts'] as const satisfies readonly OptionName[];

/**
 * Writes the worker's `.env`. On a terminal it asks for what no flag has given; without a terminal, or with `--token` as a flag, it
 * asks nothing and leaves other variables unchanged. It warns if jobs would have no sandbox.
 */
export async function setup(command: Command): Promise<number> {
  const options = await readOptions(command, 'setup');
  const flags: Answers = command.opts();
  if (options.token !== undefined) parseToken(options.token);
  const attended = isAttended() && flags.token === undefined;
  const served = options.token !== undefined || wires.some((source) => source.configured(options));
  if (!attended && !served)
    throw new PeerworkError('token-missing', 'without a terminal, set-up needs `--token`, or what switches a source on');
  const openQuestions = QUESTIONS.filter((key) => flags[key] === undefined);
  const answers = attended ? await askFor(openQuestions, options) : {};
  if (answers === undefined || !(await acceptNoSandbox(command, options, attended))) {
    process.stdout.write('Cancelled, nothing was written.\n');
    return 130;
  }
  const file = dotenvFile(command);
  await writeDotenv(file, variablesToKeep(command, 'setup', options, answers));
  const start = process.argv[1]?.endsWith('worker.js') ? 'node worker.js' : 'peerwork worker';
  process.stdout.write(
    `Written to ${file} (only you can read it). Start the worker with \`${start}\`, or for good with \`${commandLine('start-bg')}\`; ` +
      `\`${commandLine('health')}\` checks what it needs.\n`,
  );
  return 0;
}

/**
 * Returns what belongs in `.env`: the answers, and whatever was given as a flag. Throws `option-invalid` for a value that the next
 * start could not read back unchanged.
 */
export function variablesToKeep(
  command: Command,
  name: CommandName,
  options: Readonly<Partial<Record<OptionName, unknown>>>,
  answers: Answers = {},
): Record<string, string> {
  const variables: Record<string, string> = {};
  for (const key of optionsOf(name)) {
    const spec = optionSpec(key);
    const attribute = attributeOf(key);
    // As typed, because the parsed value need not be text. A token from the environment is kept too: it may be missing at the next
    // start.
    const typed: unknown = command.getOptionValueSource(attribute) === 'cli' ? command.opts()[attribute] : undefined;
    const value = answers[key] ?? typed ?? (key === 'token' ? options[key] : undefined);
    if (value === undefined) continue;
    const text = key === 'token' ? tokenIn(String(value)) : storedText(spec, value);
    const why = whyUnstorable(key, text, key === 'token' ? text : value);
    if (why !== undefined) throw new PeerworkError('option-invalid', `${longFlag(spec)} cannot be kept in .env: ${why}`);
    if (spec.env !== undefined) variables[spec.env] = text;
  }
  return variables;
}

/** Formats an option's value for `.env`. */
export function storedText(spec: OptionSpec<unknown>, value: unknown): string {
  return typeof value === 'string' && !spec.many ? singleText(value) : asText(value);
}

function whyUnstorable(key: OptionName, text: string, value: unknown): string | undefined {
  const spec = optionSpec(key);
  if (spec.env === undefined) return 'it has no variable, give it with each start';
  const given = typeof value === 'boolean' || Array.isArray(value) ? value : asText(value);
  const intended = resolveOption(key, spec, { flags: { [key]: spec.many && typeof given === 'string' ? listOf(given) : given } });
  const read = resolveOption(key, spec, { dotenv: { [spec.env]: text } });
  return isDeepStrictEqual(intended, read) ? undefined : 'it would come back as something else';
}

/** Returns how the owner would type another command of this program, in the folder where this one was typed. */
export function commandLine(words: string): string {
  const script = process.argv[1] ?? '';
  const programs = programNames.join('|');
  const isOurs = new RegExp(`(?:^|[\\\\/])(?:worker|bin[\\\\/](?:peerwork|${programs}))\\.js$`).test(script);
  const called = new RegExp(`(?:^|[\\\\/])(${programs})(?:\\.js)?$`).exec(script)?.[1];
  const wireName = wires.find(({ name, program }) => program !== undefined && name === process.argv[2])?.name;
  // Installed by npm, it is called by its name.
  if (!isOurs || script.includes('node_modules')) {
    return `${called ?? (wireName === undefined ? 'peerwork' : `peerwork ${wireName}`)} ${words}`;
  }
  const door = relative(process.cwd(), called !== undefined ? script : script.replace(/worker\.js$/, 'bin/peerwork.js'));
  const between = called === undefined && wireName !== undefined ? `${wireName} ` : '';
  return `node ${door.startsWith('..') ? resolve(door) : door} ${between}${words}`;
}
