import { readFile, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import type { Command } from 'commander';
import { DEFAULT_DRAIN_MS, DEFAULT_HOME } from '../../config/defaults.js';
import { PeerworkError } from '../../errors.js';
import type { KeeperKind, Options, ServiceCommand } from '../option-table.js';
import { readOptions } from '../options.js';
import { programNames } from '../wires.js';
import { openKeeper } from './choose-keeper.js';
import type { Keeper } from './keeper.js';
import { readRecord, type ServiceRecord, serviceFolder } from './record.js';
import { unitFolders } from './systemd.js';
import { MADE_BY } from './systemd-unit.js';

const STARTS_US = new RegExp(`\\b(?:${['peerwork', ...programNames].join('|')})\\b`);

/** A service found on this machine, and its keeper. */
export interface InstalledService {
  readonly record: ServiceRecord;
  readonly keeper: Keeper;
  /** Its unit was not written by `start-bg`, so its settings may differ from what its folder says. */
  readonly foreign?: true;
}

/** Returns the service that these options name, if there is one. */
export async function findService(
  { home, serviceName }: Pick<Options, 'home' | 'serviceName'>,
  units: UnitFolders = process.platform === 'linux' ? unitFolders() : {},
): Promise<InstalledService | undefined> {
  const root = resolve(home ?? DEFAULT_HOME);
  const record = await readRecord(serviceFolder(root, serviceName));
  if (record !== undefined) return { record, keeper: openKeeper(record.keeper, { home: root, name: serviceName }) };
  const foreign = await findForeignUnit(serviceName, units);
  return foreign && { record: foreign, keeper: openKeeper(foreign.keeper, { home: foreign.home, name: serviceName }), foreign: true };
}

/** Returns the service of a command. Rejects with `service-missing`. */
export async function serviceOf(command: Command, name: ServiceCommand): Promise<InstalledService> {
  const options = await readOptions(command, name);
  const found = await findService(options);
  if (found === undefined)
    throw new PeerworkError('service-missing', `${resolve(options.home ?? DEFAULT_HOME)} knows none called ${options.serviceName}`);
  return found;
}

/** Folders of units, by the keeper that runs them. */
type UnitFolders = Readonly<Partial<Record<KeeperKind, string>>>;

/**
 * Finds a unit of this name that starts this program but was not written by `start-bg`, but by another program of this name, or by
 * hand. All that is known about it comes from its text.
 */
async function findForeignUnit(name: string, folders: UnitFolders): Promise<ServiceRecord | undefined> {
  for (const [keeper, units] of Object.entries(folders) as [KeeperKind, string][]) {
    const file = join(units, `${name}.service`);
    const text = await readFile(file, 'utf8').catch(() => '');
    const line = (key: string) => new RegExp(`^${key}=-?(.*)$`, 'm').exec(text)?.[1]?.trim().replaceAll('%%', '%');
    if (text.includes(MADE_BY) || !STARTS_US.test(line('ExecStart') ?? '')) continue;
    const environmentFile = line('EnvironmentFile');
    const folder = line('WorkingDirectory') ?? (environmentFile === undefined ? process.cwd() : dirname(environmentFile));
    const { mtimeMs } = await stat(file);
    const dotenv = environmentFile ?? join(folder, '.env');
    return { name, keeper, home: join(folder, DEFAULT_HOME), folder, dotenv, drainMs: DEFAULT_DRAIN_MS, env: {}, installedAt: mtimeMs };
  }
  return undefined;
}
