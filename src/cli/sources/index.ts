import { crew } from './crew.js';
import type { SourceCommand } from './source-command.js';
import { worqr } from './worqr.js';

/** The sources that a Worker can serve besides its Master, each switched on by its own options. */
export const sourceCommands: readonly SourceCommand[] = [worqr, crew];
