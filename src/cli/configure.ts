import type { Command } from 'commander';
import { PeerworkError } from '../errors.js';
import { isAttended, unlessLeft } from '../kit/terminal.js';
import { parseToken } from '../swarm/token.js';
import { setVariables, writeDotenv } from './dotenv-file.js';
import { EXIT_UNCONFIGURED } from './failure.js';
import { type OptionName, type Options, optionSpec, questionsOf } from './option-table.js';
import { dotenvFile, readDotenv, readOptions, resolveOptions } from './options.js';
import { askFor } from './questions.js';
import { runnerCommands } from './runners.js';
import { refuseUnready } from './service/readiness.js';
import { commandLine, storedText, variablesToKeep } from './setup.js';
import { acceptNoSandbox } from './wall.js';
import { wires } from './wires.js';

/** Questions for every Worker, whatever systems it serves. */
const GENERAL = ['name', 'concurrency', 'memoryMb', 'allowInstallScripts'] as const satisfies readonly OptionName[];

/** A system that a Worker can serve, with the questions to ask for it. Its first option is what enables it. */
interface Servable {
  readonly name: string;
  readonly title: string;
  readonly questions: readonly OptionName[];
  isOn(options: Options): boolean;
}

function servables(): readonly Servable[] {
  const master: Servable = {
    name: 'master',
    title: 'a peerwork Master, by its token',
    questions: ['token'],
    isOn: ({ token }) => token !== undefined,
  };
  const others = wires.map((source) => ({
    name: source.name,
    title: source.name,
    questions: questionsOf(source),
    isOn: (options: Options) => source.configured(options),
  }));
  return [master, ...others];
}

/**
 * Writes the `.env` of a Worker: which systems it serves, and how. On a terminal it asks for everything, with the current values as
 * defaults; without a terminal, or as soon as a flag gives an option, it only writes what the flags say. Exits with 3 if it would serve
 * nothing, or if a system is not ready, for example because of a missing log-in.
 */
export async function configure(command: Command): Promise<number> {
  const options = await readOptions(command, 'configure');
  const file = dotenvFile(command);
  const removed = withoutOf(command);
  const fromFlags = variablesToKeep(command, 'configure', options);
  const hasFlags = removed.length > 0 || Object.keys(fromFlags).some((name) => name !== 'token') || command.opts()['token'] !== undefined;
  const attended = isAttended() && !hasFlags;
  const choices = attended ? await promptForOptions(options) : { removed, variables: fromFlags };
  if (choices === undefined) {
    process.stdout.write('Cancelled, nothing was written.\n');
    return 130;
  }
  const variables: Record<string, string | undefined> = { ...choices.variables };
  for (const { questions } of choices.removed) for (const key of questions) variables[optionSpec(key).env ?? ''] = undefined;
  delete variables[''];
  const after = await optionsWith(file, variables);
  if (after.token !== undefined) parseToken(after.token);
  const enabled = servables().filter((servable) => servable.isOn(after));
  if (enabled.length === 0) throw new PeerworkError('worker-unconfigured', 'give --token, or what switches a source on');
  if (await refuseUnready(after)) return EXIT_UNCONFIGURED;
  if (!(await acceptNoSandbox(command, after, attended))) {
    process.stdout.write('Cancelled, nothing was written.\n');
    return 130;
  }

  await writeDotenv(file, variables);
  process.stdout.write(
    `Written to ${file} (only you can read it). This Worker serves: ${enabled.map(({ name }) => name).join(', ')}.\n` +
      `Next: \`${commandLine('health')}\` checks what it needs, \`${commandLine('start-bg')}\` keeps it running.\n`,
  );
  return 0;
}

/** Returns the options as the next start would read them once the variables are written. */
async function optionsWith(file: string, variables: Readonly<Record<string, string | undefined>>): Promise<Options> {
  // Fails before anything is written if a value cannot be represented.
  setVariables('', variables);
  const dotenv = { ...(await readDotenv(file)), ...variables };
  return resolveOptions('worker', { env: process.env, dotenv });
}

function withoutOf(command: Command): readonly Servable[] {
  const text = command.opts<{ without?: string }>().without;
  const known = servables();
  const names = text?.split(/[\s,]+/).filter((name) => name !== '') ?? [];
  return names.map((name) => {
    const servable = known.find((one) => one.name === name);
    if (servable === undefined)
      throw new PeerworkError('option-invalid', `--without is "${name}", but must be of ${known.map((one) => one.name).join(', ')}`);
    return servable;
  });
}

async function promptForOptions(
  options: Options,
): Promise<{ removed: readonly Servable[]; variables: Record<string, string> } | undefined> {
  const known = servables().filter(({ questions }) => questions.length > 0);
  const before = known.filter((servable) => servable.isOn(options));
  let chosen = known;
  if (known.length > 1) {
    const answer = await unlessLeft(async () => {
      const { default: inquirer } = await import('inquirer');
      return inquirer.prompt<{ served: string[] }>([
        {
          type: 'checkbox',
          name: 'served',
          message: 'Which system should this Worker serve?',
          choices: known.map((servable) => ({
            name: servable.title,
            value: servable.name,
            checked: before.length === 0 ? servable.name === 'master' : before.includes(servable),
          })),
          required: true,
        },
      ]);
    });
    if (answer === undefined) return undefined;
    chosen = known.filter(({ name }) => answer.served.includes(name));
  }
  const runners = runnerCommands.filter((runner) => runner.wanted(options)).flatMap(questionsOf);
  const keys = [...new Set<OptionName>([...chosen.flatMap(({ questions }) => questions), ...GENERAL, ...runners])];
  const answers = await askFor(keys, options);
  if (answers === undefined) return undefined;
  const variables: Record<string, string> = {};
  for (const [key, value] of Object.entries(answers)) {
    const spec = optionSpec(key as OptionName);
    if (spec.env !== undefined) variables[spec.env] = storedText(spec, value);
  }
  return { removed: before.filter((servable) => !chosen.includes(servable)), variables };
}
