import { containerOptionsOf } from './container-options.js';
import type { RunnerCommand } from './runner-command.js';

export const containerCommand: RunnerCommand = {
  kind: 'container',
  wanted: ({ containers }) => containers !== 'off',
  async setup(options) {
    const { containerRunner } = await import('../../runners/container/container-runner.js');
    return containerRunner(containerOptionsOf(options));
  },
};
