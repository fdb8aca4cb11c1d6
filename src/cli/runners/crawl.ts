import { given } from '../options.js';
import type { RunnerCommand } from './runner-command.js';

/** Crawls, where there is a container engine. */
export const crawlCommand: RunnerCommand = {
  kind: 'crawl',
  wanted: ({ crawls }) => crawls !== false,
  setup: async ({ crawls, crawlContainers }) => {
    const { crawlRunner } = await import('../../runners/crawl/setup.js');
    return crawlRunner({ required: crawls === true, ...given({ maxContainers: crawlContainers }) });
  },
};
