import type { Command } from 'commander';
import { DEFAULT_MEMORY_MB, DEFAULT_NETWORK } from '../config/defaults.js';
import { heldNetwork } from '../egress/policy.js';
import { unlessLeft } from '../kit/terminal.js';
import { findSandbox, findTool, type Sandbox } from '../sandbox/sandbox.js';
import { type Options, optionSpec } from './option-table.js';
import { attributeOf, dotenvFile, readDotenv } from './options.js';

type WallOptions = Pick<Options, 'sandbox' | 'taskNetwork' | 'memoryMb' | 'bubblewrap'>;

/** What this Worker's jobs will be kept in, found by trying. Rejects with `sandbox-missing` if what is demanded cannot be had. */
export function sandboxOf({ sandbox, taskNetwork, memoryMb = DEFAULT_MEMORY_MB, bubblewrap }: WallOptions): Promise<Sandbox> {
  const scratchBytes = 1024 ** 3;
  return findSandbox({
    sandbox,
    network: heldNetwork(taskNetwork ?? DEFAULT_NETWORK),
    memoryMb,
    scratchBytes,
    bubblewrap: bubblewrap ?? findTool('bwrap'),
  });
}

/**
 * Tells the owner on stderr, in two lines, where jobs would have no wall around them, and asks on a terminal whether to go on, unless `sandbox` was chosen as a
 * flag or variable: that is the answer. Resolves with false if it is no.
 */
export async function acceptWall(command: Command, options: WallOptions, attended: boolean): Promise<boolean> {
  // Neither what is demanded nor what is denied is of interest yet, but what there is.
  const { remedy } = await sandboxOf({ ...options, sandbox: options.sandbox === 'off' ? 'off' : 'auto', taskNetwork: undefined });
  if (remedy === undefined) return true;
  const mustHold = options.sandbox === 'required' || heldNetwork(options.taskNetwork ?? DEFAULT_NETWORK) !== 'allow';
  const needed = mustHold ? 'The Worker will not start as it is. ' : '';
  process.stderr.write(
    `No sandbox: malicious task code can do anything this user can, and nothing that follows is a wall against it.\n${needed}${remedy}\n`,
  );
  if (!attended || (await isChosen(command))) return true;
  const { default: inquirer } = await import('inquirer');
  const answer = await unlessLeft(() =>
    inquirer.prompt<{ goOn: boolean }>([{ type: 'confirm', name: 'goOn', message: 'Go on without a sandbox?', default: false }]),
  );
  return answer?.goOn === true;
}

async function isChosen(command: Command): Promise<boolean> {
  const { env = '' } = optionSpec('sandbox');
  if (command.getOptionValueSource(attributeOf('sandbox')) === 'cli') return true;
  return Boolean(process.env[env] || (await readDotenv(dotenvFile(command)))[env]);
}
