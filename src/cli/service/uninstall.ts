import { existsSync } from 'node:fs';
import { rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { PeerworkError } from '../../errors.js';
import { removeTree } from '../../kit/remove-tree.js';
import { isAttended, unlessLeft } from '../../kit/terminal.js';
import { print } from '../client/print.js';
import { readWorkerStatuses } from '../worker-status.js';
import { serviceOf } from './installed.js';
import { serviceFolder } from './record.js';

/** What Workers keep in a home. Nothing else in it may be deleted: a Master keeps its ledger and key in the same place. */
const ENTRIES_OF_WORKERS = ['workers', 'store', 'status', 'services'] as const;

/** Stops and removes the service, and on request what its Workers keep in the home. */
export async function uninstall(command: Command): Promise<number> {
  const { keepData = false, yes = false } = command.opts<{ keepData?: boolean; yes?: boolean }>();
  if (keepData && yes) throw new PeerworkError('option-invalid', '--keep-data and --yes contradict each other');
  const { record, keeper } = await serviceOf(command, 'uninstall');
  const { home, name, dotenv } = record;
  const deletesData = yes || (!keepData && isAttended() && (await confirmDeletion(home)));
  await keeper.uninstall();
  await remove(serviceFolder(home, name));
  await rmdir(join(home, 'services')).catch(() => {});
  print(`The service ${name} is removed (it was ${keeper.description}).`);
  if (!deletesData) print(`Key, outbox and files of this Worker stay in ${home}: installed again, it is the same Worker.`);
  else {
    // Other Workers may have been started by hand, or have services of their own.
    const others = readWorkerStatuses(home).map(({ name: worker }) => worker);
    if (others.length > 0 || existsSync(join(home, 'services')))
      throw new PeerworkError(
        'home-locked',
        `${home} is not deleted, other Workers use it${others.length > 0 ? `: ${others.join(', ')}` : ''}`,
      );
    for (const entry of ENTRIES_OF_WORKERS) await remove(join(home, entry));
    await rmdir(home).catch(() => print(`${home} stays, it holds other things than those of Workers.`));
    print('Key, outbox and files of this Worker are deleted.');
  }
  print(`${dotenv} stays, with the token in it.`);
  return 0;
}

async function remove(path: string): Promise<void> {
  const remains = await removeTree(path);
  if (remains !== undefined) print(`${remains.path} could not be removed (${remains.why}). ${remains.hint}`);
}

async function confirmDeletion(home: string): Promise<boolean> {
  const answer = await unlessLeft(async () => {
    const { default: inquirer } = await import('inquirer');
    const message = `Delete key, outbox and files of Workers in ${home} as well?`;
    return inquirer.prompt<{ go: boolean }>([{ type: 'confirm', name: 'go', message, default: false }]);
  });
  if (answer === undefined) throw new PeerworkError('closed', 'nothing was changed');
  return answer.go;
}
