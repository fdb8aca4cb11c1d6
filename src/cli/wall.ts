import type { Command } from 'commander';
import { DEFAULT_MEMORY_MB, DEFAULT_NETWORK } from '../config/defaults.js';
import { heldNetwork } from '../egress/policy.js';
import { unlessLeft } from '../kit/terminal.js';
import { findSandbox, findTool, type Sandbox } from '../sandbox/sandbox.js';
import { type Options, optionSpec } from './option-table.js';
import { attributeOf, dotenvFile, readDotenv } from './options.js';

type WallOptions = Pick<Options, 'sandbox' | 'taskNetwork' | 'memoryMb' | 'bubblewrap'>;

/** Determines the sandbox of this Worker's jobs by trying. Rejects with `sandbox-missing` if the required one is not available. */
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
 * Warns the owner on stderr, in two lines, if jobs would have no sandbox, and on a terminal asks whether to continue, unless
 * `sandbox` was set as a flag or variable, which counts as consent. Resolves with false if the answer is no.
 */
export async function acceptNoSandbox(command: Command, options: WallOptions, attended: boolean): Promise<boolean> {
  // Only what is available matters here, not what is required or disabled.
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
