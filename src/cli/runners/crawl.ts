import { given } from '../options.js';
import { containerOptionsOf } from './container-options.js';
import type { RunnerCommand } from './runner-command.js';

export const crawlCommand: RunnerCommand = {
  kind: 'crawl',
  wanted: ({ containers }) => containers !== 'off',
  async setup(options) {
    const { crawlRunner } = await import('../../runners/crawl/setup.js');
    return crawlRunner({ ...containerOptionsOf(options), ...given({ maxContainers: options.crawlContainers }) });
  },
};
