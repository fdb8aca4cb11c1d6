import type { Command } from 'commander';
import { isAttended } from '../kit/terminal.js';
import type { CommandContext, Wire } from '../wires/wire.js';
import { writeDotenv } from './dotenv-file.js';
import { checksOf, describeChecks } from './health/health.js';
import { type CommandName, questionsOf } from './option-table.js';
import { attributeOf, dotenvFile, readDotenv, readOptions, resolveOptions } from './options.js';
import { askFor } from './questions.js';
import { startBackground } from './service/start-bg.js';
import { commandLine, variablesToKeep } from './setup.js';
import { untilStopped } from './stop.js';

/** Builds the context in which a wire's command runs; it takes the options declared for `name`. */
export function contextOf(wire: Wire, command: Command, name: CommandName): CommandContext {
  const file = dotenvFile(command);
  return {
    options: (wanted) => readOptions(command, wanted),
    untilStopped,
    ask: async () => {
      if (!isAttended()) return {};
      const remaining = questionsOf(wire).filter((key) => command.getOptionValueSource(attributeOf(key)) !== 'cli');
      return askFor(remaining, await readOptions(command, name));
    },
    keep: async (answers) => {
      const variables = variablesToKeep(command, name, await readOptions(command, name), answers);
      // Nothing is written that the next start could not read.
      await wire.ready?.(resolveOptions(name, { env: process.env, dotenv: { ...(await readDotenv(file)), ...variables } }));
      await writeDotenv(file, variables);
      return file;
    },
    setVariables: (variables) => writeDotenv(file, variables),
    check: async () => checksOf(await readOptions(command, 'health'), file),
    describe: describeChecks,
    startBackground: () => startBackground(command),
    commandLine,
  };
}
