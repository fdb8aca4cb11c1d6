import { openfn } from './openfn.js';
import type { SourceCommand } from './source-command.js';

/** The sources that a Worker can serve besides its Master, each switched on by its own options. */
export const sourceCommands: readonly SourceCommand[] = [openfn];
