import { Command, CommanderError } from 'commander';
import { keepInspectorShut } from '../sandbox/inspector.js';
import { version } from '../version.js';
import type { WireProgram } from '../wires/wire.js';
import { addOwnFlags, clientCommands } from './client/commands.js';
import { EXIT_REFUSED, exitCodeOf, printFailure, usageError } from './failure.js';
import type { CommandEntry, Command as CoreCommand } from './option-table.js';
import { commandWithOptions } from './options.js';
import { offerPackages } from './packages.js';
import { serviceCommands } from './service/commands.js';
import { lineOf, programCommands, wireCommands, wireNamed } from './wire-commands.js';
import { wires } from './wires.js';

/** The code of each command is loaded only when it runs: `--help` must not load a WebRTC engine. */
const commands: Readonly<Record<CoreCommand, CommandEntry> & Record<string, CommandEntry>> = {
  setup: {
    summary: 'Ask for the token and write .env, as `worker --setup` does.',
    load: async () => (await import('./setup.js')).setup,
  },
  worker: {
    summary: 'Do the jobs of a Master until stopped. Same as `node worker.js`.',
    load: async () => (await import('./worker.js')).worker,
  },
  master: {
    summary: 'Publish a task, print the token, hand out jobs and collect their outcomes.',
    load: async () => (await import('./master.js')).master,
  },
  token: {
    summary: 'Print the token of a ledger or key file; makes the key if there is none.',
    load: async () => (await import('./token.js')).token,
  },
  tracker: {
    summary: 'Run a tracker of your own, for a LAN or to rely on nobody else.',
    load: async () => (await import('./tracker.js')).tracker,
  },
  image: {
    summary: 'Build the image of the crawler, without a registry where there is none.',
    load: async () => (await import('./image.js')).image,
  },
  ...clientCommands,
  ...serviceCommands,
  ledger: {
    summary: 'Export a ledger into a file, or import one into an empty ledger.',
    arguments: [
      ['<verb>', 'export or import.'],
      ['<file>', 'One JSON object a line; - for stdout or stdin.'],
    ],
    load: async () => (await import('./ledger.js')).ledger,
  },
  ...wireCommands,
};

type Load = CommandEntry['load'];

/**
 * Runs one command line (without node and script); resolves with the exit code and never rejects. `act` executes a command line
 * that was parsed. Whatever follows the name of a wire with its own program is parsed as a command line of that program.
 */
export async function main(
  args: readonly string[],
  act: (command: Command, load: Load) => Promise<number> = async (command, load) => (await load())(command),
): Promise<number> {
  keepInspectorShut();
  const wire = wireNamed(args[0]);
  const line = wire === undefined ? args : lineOf(wire.program, args.slice(1));
  const known = wire === undefined ? commands : programCommands(wire, commands);
  const named = Object.hasOwn(known, line[0] ?? '') ? ` ${line[0]}` : '';
  // The title replaces the arguments in the process list, where anyone could read a `--token`.
  process.title = `${wire?.program.name ?? 'peerwork'}${named}`;
  let exitCode = 0;
  const program = (wire === undefined ? peerworkProgram() : programOf(wire.program))
    .version(version)
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(usageError(text)) })
    .showSuggestionAfterError()
    .showHelpAfterError('Add --help to see the commands and options. [option-invalid]');
  for (const [name, own] of Object.entries(known)) {
    const { summary, load } = own;
    const command = commandWithOptions(own.optionsOf ?? name, summary).name(name);
    if (name === 'worker') addWorkerSetup(command);
    addOwnFlags(command, own);
    command.copyInheritedSettings(program).action(async (...given: unknown[]) => {
      // The command follows the arguments and flags.
      const self = given.at(-1) as Command;
      offerPackages(self);
      exitCode = await act(self, name === 'worker' && self.opts()['setup'] === true ? commands.setup.load : load);
    });
    program.addCommand(command);
  }
  // Listed in the help only: their command lines belong to other programs.
  for (const { name, program: other } of wire === undefined ? wires : [])
    if (other !== undefined)
      program.command(name).description(`All of ${other.name}: \`peerwork ${name} --help\`, or \`${other.name} --help\`.`);
  try {
    if (line.length === 0) {
      program.outputHelp({ error: true });
      return EXIT_REFUSED;
    }
    await program.parseAsync(line, { from: 'user' });
    return exitCode;
  } catch (thrown) {
    if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? 0 : EXIT_REFUSED;
    printFailure(thrown);
    return exitCodeOf(thrown);
  }
}

function peerworkProgram(): Command {
  return new Command('peerwork')
    .description('Puts any machine to work, peer to peer.')
    .addHelpText(
      'after',
      '\nStart a Master:      peerwork master --task <folder> --input jobs.ndjson --output results.ndjson\nSet up a Worker:     peerwork worker --setup\nStart the Worker:    peerwork worker',
    );
}

function programOf({ name, description, example }: WireProgram): Command {
  return new Command(name).description(description).addHelpText('after', `\n${example}`);
}

function addWorkerSetup(command: Command): void {
  command.option('--setup', 'Ask for the token and the rest, write .env, and end. With --token nothing is asked.');
}
