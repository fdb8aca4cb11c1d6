import type { Command } from 'commander';
import { PeerworkError } from '../errors.js';
import { omitUndefined } from '../kit/omit.js';
import { openMasterKey } from '../master/master-key.js';
import { readOptions } from './options.js';

/** Prints the token of the Master on this ledger. */
export async function token(command: Command): Promise<number> {
  const { ledger, keyFile, trackers, ice } = await readOptions(command, 'token');
  if (ledger === 'memory:' && keyFile === undefined)
    throw new PeerworkError('option-invalid', 'a memory: ledger keeps no key; name one with --key-file');
  process.stdout.write(`${openMasterKey(omitUndefined({ keyFile, trackers, ice }), ledger).token}\n`);
  return 0;
}
