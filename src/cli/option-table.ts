/**
 * All options of the command line, those of the core and those of the wires, each declared once with flag, environment variable,
 * default, unit and meaning. `.env.example` and `docs/configuration.md` are generated from this table (`npm run generate`), and a
 * test compares them.
 */

import type { Command, CommandEntry, CommandName, ServiceCommand } from '../config/command.js';
import { coreOptions, type KeeperKind, keeperKinds } from '../config/core.js';
import type { OptionSpec, OptionsOf } from '../config/option.js';
import { programNames, type WireOptionTables, wires } from './wires.js';

export type { Command, CommandEntry, CommandName, KeeperKind, OptionSpec, ServiceCommand };
export { keeperKinds };

const { serviceName } = coreOptions;
const serviceNames = [serviceName.default, ...programNames.map((name) => `for \`${name}\`: ${name}`)];
const core: typeof coreOptions = { ...coreOptions, serviceName: { ...serviceName, defaultText: serviceNames.join('; ') } };
/** All options by name. A wire's options are merged into those of the core. */
export const optionTable: typeof coreOptions & WireOptionTables = Object.assign({}, core, ...wires.map(({ options }) => options));

export type OptionName = keyof typeof optionTable;
export type Options = OptionsOf<typeof optionTable>;

/** In the order in which set-up asks for them and tables list them. */
export const optionNames = Object.keys(optionTable) as readonly OptionName[];

/** Commands that take every option of `worker`, including those of its sources and runners. */
export const likeWorker: ReadonlySet<string> = new Set<Command>(['setup', 'configure', 'health', 'start', 'start-bg']);

/** Returns the names of the options that a command takes. */
export function optionsOf(command: CommandName): OptionName[] {
  return optionNames.filter((name) => {
    const { commands } = optionSpec(name);
    return commands.includes(command) || (likeWorker.has(command) && commands.includes('worker'));
  });
}

export function optionSpec(name: OptionName): OptionSpec<unknown> {
  return optionTable[name];
}

/** Returns the options that `configure` asks for when this source is chosen. */
export function questionsOf({ questions = [] }: { readonly questions?: readonly string[] }): readonly OptionName[] {
  return questions as readonly OptionName[];
}

/** Returns `--name` for `--name <text>` or `-n, --name <text>`. */
export function longFlag(spec: OptionSpec<unknown>): string {
  return /--[\w-]+/.exec(spec.flag)?.[0] ?? spec.flag;
}
