import type { Command } from 'commander';
import type { Wire, WireCommand, WireProgram } from '../wires/wire.js';
import type { CommandEntry, CommandName } from './option-table.js';
import { wires } from './wires.js';

/** Commands that wires add to those of peerwork. */
export const wireCommands: Readonly<Record<string, CommandEntry>> = Object.assign(
  {},
  ...wires.map((wire) => entriesOf(wire, wire.commands ?? {})),
);

/** Returns the wire whose program `peerwork NAME` runs. */
export function wireNamed(name: string | undefined): (Wire & { readonly program: WireProgram }) | undefined {
  return wires.find((wire): wire is Wire & { readonly program: WireProgram } => wire.program !== undefined && wire.name === name);
}

/** Returns the commands of a wire's program: its own, and those of peerwork that it adopts. */
export function programCommands(
  wire: Wire & { readonly program: WireProgram },
  core: Readonly<Record<string, CommandEntry>>,
): Readonly<Record<string, CommandEntry>> {
  const { commands, guarded } = wire.program;
  const named = Object.entries(commands).map(([name, own]): [string, CommandEntry] => {
    const entry: WireCommand = { load: async () => async () => 0, summary: '', ...core[name], ...own };
    return [name, withContext(wire, name, entry, guarded.includes(name))];
  });
  return Object.fromEntries(named);
}

/** Returns the command line with the program's default command inserted if no command is given, including if only flags are. */
export function lineOf({ defaultCommand }: WireProgram, args: readonly string[]): readonly string[] {
  const [first = ''] = args;
  const isFlagOfDefault = first === '' || (first.startsWith('-') && !['-h', '--help', '-V', '--version'].includes(first));
  return isFlagOfDefault ? [defaultCommand, ...args] : args;
}

function entriesOf(wire: Wire, commands: Readonly<Record<string, WireCommand>>): Record<string, CommandEntry> {
  return Object.fromEntries(Object.entries(commands).map(([name, own]) => [name, withContext(wire, name, own)]));
}

function withContext(wire: Wire, name: CommandName, own: WireCommand, guarded = false): CommandEntry {
  const load = async () => {
    const [act, { contextOf }] = await Promise.all([own.load(), import('./command-context.js')]);
    return async (command: Command) => {
      const context = contextOf(wire, command, own.optionsOf ?? name);
      if (guarded) wire.program?.admit(await context.options(own.optionsOf ?? name));
      return act(command, context);
    };
  };
  return { ...own, load };
}
