import { crew } from './crew.js';
import { dory } from './dory.js';
import { openfn } from './openfn.js';
import { queueXecCommand } from './queue-xec.js';
import type { SourceCommand } from './source-command.js';
import { worqr } from './worqr.js';

/** The sources that a Worker can serve besides its Master, each switched on by its own options. */
export const sourceCommands: readonly SourceCommand[] = [queueXecCommand, dory, worqr, crew, openfn];
