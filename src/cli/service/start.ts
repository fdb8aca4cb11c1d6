import type { Command } from 'commander';
import { EXIT_UNCONFIGURED } from '../failure.js';
import { readOptions } from '../options.js';
import { worker } from '../worker.js';
import { demandConfiguration, refuseUnready } from './readiness.js';

/** `peerwork worker` for scripts: has a distinct exit code for missing set-up. */
export async function start(command: Command): Promise<number> {
  const options = await readOptions(command, 'start');
  demandConfiguration(options);
  if (await refuseUnready(options)) return EXIT_UNCONFIGURED;
  return worker(command);
}
