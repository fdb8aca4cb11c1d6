/** What the system holds a program to: prlimit(1) sets it in front of a command, in one call, as each costs most of a millisecond. */
import { findTool } from './tools.js';

/** Threads count. Node alone has 7 at its start and 11 with its pool; native modules add some for each core. */
export const MAX_PROCESSES = 256;
export const COUNT_PROCESSES = `--nproc=${MAX_PROCESSES}`;

/** The words in front of a command; none for no options. */
export function limitedBy(options: readonly string[], prlimit = findTool('prlimit')): string[] {
  return options.length === 0 ? [] : [prlimit, ...options, '--'];
}
