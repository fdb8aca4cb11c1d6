import { relative, resolve } from 'node:path';
import type { Command } from 'commander';
import { type Command as CommandName, type OptionName, optionSpec, optionsOf } from '../config.js';
import { PeerworkError } from '../errors.js';
import { parseToken } from '../swarm/token.js';
import { writeDotenv } from './dotenv-file.js';
import { attributeOf, dotenvFile, readOptions } from './options.js';
import { type Answers, askFor, asText, isAttended } from './questions.js';
import { acceptWall } from './wall.js';

/** What is asked, in this order. The rest of the worker's options can be given as flags or written into `.env` by hand. */
const QUESTIONS = ['token', 'name', 'concurrency', 'memoryMb', 'allowInstallScripts'] as const satisfies readonly OptionName[];

/**
 * Writes the worker's `.env`. Asks on a terminal for what no flag gave; without a terminal, or with `--token` as a flag,
 * nothing is asked and what was not given stays as it is. Where jobs would have no sandbox it says so.
 */
export async function setup(command: Command): Promise<number> {
  const options = await readOptions(command, 'setup');
  const flags: Answers = command.opts();
  if (options.token !== undefined) parseToken(options.token);
  const attended = isAttended() && flags.token === undefined;
  if (!attended && options.token === undefined) throw new PeerworkError('token-missing', 'without a terminal, set-up needs `--token`');
  const asked = QUESTIONS.filter((key) => flags[key] === undefined);
  const answers = attended ? await askFor(asked, options) : {};
  if (answers === undefined || !(await acceptWall(command, options, attended))) {
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

/** What belongs into `.env`: the answers, and whatever was given as a flag. */
export function variablesToKeep(
  command: Command,
  name: CommandName,
  options: Readonly<Partial<Record<OptionName, unknown>>>,
  answers: Answers = {},
): Record<string, string> {
  const variables: Record<string, string> = {};
  for (const key of optionsOf(name)) {
    const { env } = optionSpec(key);
    const attribute = attributeOf(key);
    // As it was typed: what it was read as need not be text. A token from the environment is kept too: the next start may not have that.
    const typed: unknown = command.getOptionValueSource(attribute) === 'cli' ? command.opts()[attribute] : undefined;
    const value = answers[key] ?? typed ?? (key === 'token' ? options[key] : undefined);
    if (env !== undefined && value !== undefined) variables[env] = asText(value);
  }
  return variables;
}

/** How the owner types another command of this program, in the folder where this one was typed. */
export function commandLine(words: string): string {
  const script = process.argv[1] ?? '';
  // Installed by npm it is called by its name.
  if (!/(?:^|[\\/])(?:worker|bin[\\/]peerwork)\.js$/.test(script) || script.includes('node_modules')) return `peerwork ${words}`;
  const door = relative(process.cwd(), script.replace(/worker\.js$/, 'bin/peerwork.js'));
  return `node ${door.startsWith('..') ? resolve(door) : door} ${words}`;
}
