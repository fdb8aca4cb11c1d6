import { resolve } from 'node:path';
import type { Command } from 'commander';
import type { Options, ServiceCommand } from '../../config.js';
import { PeerworkError } from '../../errors.js';
import { DEFAULT_HOME } from '../../worker/home.js';
import { readOptions } from '../options.js';
import { openKeeper } from './choose-keeper.js';
import type { Keeper } from './keeper.js';
import { readRecord, type ServiceRecord, serviceFolder } from './record.js';

export interface InstalledService {
  readonly record: ServiceRecord;
  readonly keeper: Keeper;
}

/** The service that these options name, if there is one. */
export async function findService({ home, serviceName }: Pick<Options, 'home' | 'serviceName'>): Promise<InstalledService | undefined> {
  const root = resolve(home ?? DEFAULT_HOME);
  const record = await readRecord(serviceFolder(root, serviceName));
  return record && { record, keeper: openKeeper(record.keeper, { home: root, name: serviceName }) };
}

/** The service of a command; rejects with `service-missing`. */
export async function serviceOf(command: Command, name: ServiceCommand): Promise<InstalledService> {
  const options = await readOptions(command, name);
  const found = await findService(options);
  if (found === undefined)
    throw new PeerworkError('service-missing', `${resolve(options.home ?? DEFAULT_HOME)} knows none called ${options.serviceName}`);
  return found;
}
