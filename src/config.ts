/**
 * Every option of the command line, declared once: flag, environment variable, default, unit and meaning.
 * `.env.example` and `docs/configuration.md` are made from this table (`npm run generate`); a test compares them.
 */
import { clientOptions } from './config/client.js';
import { commonOptions } from './config/common.js';
import { containerOptions } from './config/containers.js';
import { crawlOptions } from './config/crawl.js';
import { crewOptions } from './config/crew.js';
import { doryOptions } from './config/dory.js';
import { masterOptions } from './config/master.js';
import { openfnOptions } from './config/openfn.js';
import type { Command, OptionSpec, ServiceCommand } from './config/option.js';
import { queueXecOptions } from './config/queue-xec.js';
import { type KeeperKind, keeperKinds, serviceOptions } from './config/service.js';
import { trackerOptions } from './config/tracker.js';
import { tunnelOptions } from './config/tunnel.js';
import { DEFAULT_MEMORY_MB, workerOptions } from './config/worker.js';
import { worqrOptions } from './config/worqr.js';

export type { Command, KeeperKind, OptionSpec, ServiceCommand };
export { DEFAULT_MEMORY_MB, keeperKinds };

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
  ...serviceOptions,
  ...crawlOptions,
  ...doryOptions,
  ...queueXecOptions,
  ...worqrOptions,
  ...crewOptions,
} as const;

export type OptionName = keyof typeof optionTable;
export type Options = {
  readonly [K in OptionName]: (typeof optionTable)[K] extends OptionSpec<infer T, infer D> ? T | Extract<D, undefined> : never;
};

export const optionNames = Object.keys(optionTable) as readonly OptionName[];

/** These take every option of `worker`, so that what a source or runner adds there is theirs as well. */
export const likeWorker: ReadonlySet<Command> = new Set<Command>(['setup', 'configure', 'health', 'start', 'start-bg']);

export function optionsOf(command: Command): OptionName[] {
  return optionNames.filter((name) => {
    const { commands } = optionSpec(name);
    return commands.includes(command) || (likeWorker.has(command) && commands.includes('worker'));
  });
}

export function optionSpec(name: OptionName): OptionSpec<unknown> {
  return optionTable[name];
}

/** `--name` of `--name <text>` or `-n, --name <text>`. */
export function longFlag(spec: OptionSpec<unknown>): string {
  return /--[\w-]+/.exec(spec.flag)?.[0] ?? spec.flag;
}
