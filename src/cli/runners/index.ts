import { containerCommand } from './container.js';
import { crawlCommand } from './crawl.js';
import { openfn } from './openfn.js';
import type { RunnerCommand } from './runner-command.js';

/** The ways to run jobs besides task modules. */
export const runnerCommands: readonly RunnerCommand[] = [containerCommand, crawlCommand, openfn];
