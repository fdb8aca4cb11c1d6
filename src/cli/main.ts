import { Command, CommanderError } from 'commander';
import type { Command as CommandName } from '../config.js';
import { keepInspectorShut } from '../sandbox/inspector.js';
import { version } from '../version.js';
import { addClientFlags, type ClientCommand, clientCommands } from './client/commands.js';
import { EXIT_REFUSED, exitCodeOf, printFailure, usageError } from './failure.js';
import { commandWithOptions } from './options.js';
import { serviceCommands } from './service/commands.js';

/** Each command's code is loaded only when it runs: `--help` must not load a WebRTC engine. */
const commands: Readonly<Record<CommandName, ClientCommand>> = {
  setup: {
    summary: 'Ask for the token and write .env, as `worker --setup` does.',
    load: async () => (await import('./setup.js')).setup,
  },
  worker: {
    summary: 'Do the jobs of a Master until told to stop. The same as `node worker.js`.',
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
  login: {
    summary: 'Get a key for this machine from a dory-api and keep it in ~/.dory/credentials.',
    load: async () => (await import('./dory-login.js')).login,
  },
  logout: {
    summary: 'Remove the stored key of the dory-api.',
    load: async () => (await import('./dory-login.js')).logout,
  },
  whoami: {
    summary: 'Print with which key of which dory-api this machine works.',
    load: async () => (await import('./dory-login.js')).whoami,
  },
};

type Load = ClientCommand['load'];

/**
 * Runs one command line (without node and script) to its end; answers the exit code and never rejects. `act` is what is done with a command line
 * that was understood.
 */
export async function main(
  args: readonly string[],
  act: (command: Command, load: Load) => Promise<number> = async (command, load) => (await load())(command),
): Promise<number> {
  keepInspectorShut();
  // The title replaces the arguments in the process list, where a `--token` would be for all to see.
  process.title = Object.hasOwn(commands, args[0] ?? '') ? `peerwork ${args[0]}` : 'peerwork';
  let exitCode = 0;
  const program = new Command('peerwork')
    .description('Puts any machine to work, peer to peer.')
    .version(version)
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(usageError(text)) })
    .showSuggestionAfterError()
    .showHelpAfterError('Add --help to see what is understood. [option-invalid]')
    .addHelpText(
      'after',
      '\nStart a Master:      peerwork master --task <folder> --input jobs.ndjson --output results.ndjson\nSet up a Worker:     peerwork worker --setup\nStart the Worker:    peerwork worker',
    );
  for (const [name, own] of Object.entries(commands)) {
    const { summary, load } = own;
    const command = commandWithOptions(name as CommandName, summary);
    if (name === 'worker') addWorkerSetup(command);
    addClientFlags(command, own);
    command.copyInheritedSettings(program).action(async (...given: unknown[]) => {
      // After the arguments and the flags.
      const self = given.at(-1) as Command;
      exitCode = await act(self, name === 'worker' && self.opts()['setup'] === true ? commands.setup.load : load);
    });
    program.addCommand(command);
  }
  try {
    if (args.length === 0) {
      program.outputHelp({ error: true });
      return EXIT_REFUSED;
    }
    await program.parseAsync(args, { from: 'user' });
    return exitCode;
  } catch (thrown) {
    if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? 0 : EXIT_REFUSED;
    printFailure(thrown);
    return exitCodeOf(thrown);
  }
}

function addWorkerSetup(command: Command): void {
  command.option('--setup', 'Ask for the token and the rest, write .env, and end. With --token nothing is asked.');
}
