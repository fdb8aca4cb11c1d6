import { resolve } from 'node:path';
import type { Command } from 'commander';
import { DEFAULT_HOME } from '../../config/defaults.js';
import { PeerworkError } from '../../errors.js';
import { quietPipes } from '../client/print.js';
import { readOptions } from '../options.js';
import { abortedBySignals } from '../stop.js';
import { findService, serviceOf } from './installed.js';

const DEFAULT_LINES = 100;

interface Flags {
  readonly lines?: string;
  readonly follow?: boolean;
  readonly runs?: boolean;
  readonly json?: boolean;
}

/** Prints the log of the installed Worker, or the container output of a run. */
export async function logs(command: Command): Promise<number> {
  quietPipes();
  const { lines, follow = false, runs = false, json = false } = command.opts<Flags>();
  if (lines !== undefined && !/^\d{1,7}$/.test(lines))
    throw new PeerworkError('option-invalid', `--lines is "${lines}", but must be a whole number`);
  const options = await readOptions(command, 'logs');
  const [run] = command.args;
  // Without an installed service there are no other logs.
  if (run !== undefined || runs || (await findService(options)) === undefined) {
    const { printRun, printRuns } = await import('./run-output.js');
    const root = resolve(options.home ?? DEFAULT_HOME);
    if (run === undefined) return printRuns(root, { json, asked: runs });
    return printRun(root, run, { follow, ...(lines !== undefined && { lines: Number(lines) }) });
  }
  const { keeper } = await serviceOf(command, 'logs');
  await keeper.logs({ lines: Number(lines ?? DEFAULT_LINES), follow, signal: abortedBySignals().signal });
  return 0;
}
