import { given } from '../options.js';
import type { RunnerCommand } from './runner-command.js';

export const openfn: RunnerCommand = {
  kind: 'openfn',
  // Its engine takes memory from the start: only where there is a server to give it work.
  wanted: ({ openfnUrl }) => openfnUrl !== undefined,
  async setup(options) {
    const { openfnRunner } = await import('../../runners/openfn/openfn-runner.js');
    const { openfnRunSeconds: seconds } = options;
    return openfnRunner({
      installAdaptors: options.openfnInstall,
      ...given({
        adaptors: options.openfnAdaptors,
        adaptorFolder: options.openfnRepo,
        memoryMb: options.openfnMemoryMb,
        timeoutMs: seconds && seconds * 1_000,
        statePropsToRemove: options.openfnStatePropsToRemove,
      }),
    });
  },
};
