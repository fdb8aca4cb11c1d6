import { join } from 'node:path';
import { type ContainerOptions, engineOptions } from '../../containers/owner-options.js';
import type { RunnerSetup } from '../setup.js';

/** What the owner of a Worker says about crawls; all of it has a default. */
export interface CrawlSetupOptions extends ContainerOptions {
  /** A Worker without a container engine does not start. Default: it works without crawls, and says why. */
  readonly required?: boolean;
  /** How many containers one crawl may have here; default 8. */
  readonly maxContainers?: number;
  /** What a crawl that names no image runs in; default: our own crawler, built when it is first needed. */
  readonly image?: string;
}

const DEFAULT_MAX_CONTAINERS = 8;

/** Lets a Worker run crawls, where it has docker or podman. */
export function crawlRunner(options: CrawlSetupOptions = {}): RunnerSetup {
  const { required = false, maxContainers = DEFAULT_MAX_CONTAINERS, image, ...owner } = options;
  return {
    kind: 'crawl',
    required,
    open: async (context) => {
      // Loaded only now: most Workers run none.
      const { CrawlRunner } = await import('./crawl-runner.js');
      const engine = engineOptions(owner, { ...context, folder: join(context.folder, 'engine') });
      return CrawlRunner.open({ ...engine, folder: context.folder, maxContainers, ...(image !== undefined && { image }) });
    },
  };
}
