import type { Command } from 'commander';
import { openMasterKey } from '../master/master-key.js';
import { given, readOptions } from './options.js';

/** Prints the token that a Master on this ledger has. */
export async function token(command: Command): Promise<number> {
  const { ledger, keyFile, trackers, ice } = await readOptions(command, 'token');
  process.stdout.write(`${openMasterKey(given({ keyFile, trackers, ice }), ledger).token}\n`);
  return 0;
}
