import { checkEngine } from '../health/check-engine.js';
import { containerOptionsOf } from './container-options.js';
import type { RunnerCommand } from './runner-command.js';

export const containerCommand: RunnerCommand = {
  kind: 'container',
  wanted: ({ containers }) => containers !== 'off',
  async setup(options) {
    const { containerRunner } = await import('../../runners/container/container-runner.js');
    return containerRunner(containerOptionsOf(options));
  },
  async check(options) {
    const { engine = 'auto', required } = containerOptionsOf(options);
    const { findEngine } = await import('../../containers/find-engine.js');
    return [await checkEngine(() => findEngine(engine, process.env), { demanded: required })];
  },
};
