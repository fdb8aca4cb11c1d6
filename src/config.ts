/**
 * Every option of the command line, declared once: flag, environment variable, default, unit and meaning.
 * `.env.example` and `docs/configuration.md` are made from this table (`npm run generate`); a test compares them.
 */
import { clientOptions } from './config/client.js';
import { commonOptions } from './config/common.js';
import { containerOptions } from './config/containers.js';
import { masterOptions } from './config/master.js';
import { openfnOptions } from './config/openfn.js';
import type { Command, OptionSpec } from './config/option.js';
import { trackerOptions } from './config/tracker.js';
import { tunnelOptions } from './config/tunnel.js';
import { DEFAULT_MEMORY_MB, workerOptions } from './config/worker.js';

export type { Command, OptionSpec };
export { DEFAULT_MEMORY_MB };

const { token, ...ofWorkers } = workerOptions;
const { trackers, ice, ...common } = commonOptions;
/** In the order in which they are asked for and listed. */
export const optionTable = {
  token,
  ...common,
  ...ofWorkers,
  ...containerOptions,
  ...openfnOptions,
  trackers,
  ice,
  ...masterOptions,
  ...tunnelOptions,
  ...trackerOptions,
  ...clientOptions,
} as const;

export type OptionName = keyof typeof optionTable;
export type Options = {
  readonly [K in OptionName]: (typeof optionTable)[K] extends OptionSpec<infer T, infer D> ? T | Extract<D, undefined> : never;
};

export const optionNames = Object.keys(optionTable) as readonly OptionName[];

export function optionsOf(command: Command): OptionName[] {
  return optionNames.filter((name) => optionSpec(name).commands.includes(command));
}

export function optionSpec(name: OptionName): OptionSpec<unknown> {
  return optionTable[name];
}

/** `--name` of `--name <text>`. */
export function longFlag(spec: OptionSpec<unknown>): string {
  return spec.flag.split(' ')[0] ?? spec.flag;
}
