import { join } from 'node:path';
import { DEFAULT_CRAWL_CONTAINERS } from '../../config/defaults.js';
import { type ContainerOptions, engineOptions, logQuotaBytes } from '../../containers/owner-options.js';
import type { RunnerSetup } from '../setup.js';

/** The crawl options of a Worker's owner; all of them have defaults. */
export interface CrawlSetupOptions extends ContainerOptions {
  // generated from crawlRunnerConstructor by `npm run generate`
  /** Without a container engine the Worker does not start. By default it works without these jobs and logs the reason. Default: `false`. */
  readonly required?: boolean;
  /** Limit on containers that one crawl may start on this worker. Default: 8. */
  readonly maxContainers?: number;
  /** Image for crawls that name none. Default: peerwork's own crawler, built when it is first needed. */
  readonly image?: string;
  // end
}

/** Lets a Worker run crawls if it has docker or podman. */
export function crawlRunner(options: CrawlSetupOptions = {}): RunnerSetup {
  const { required = false, maxContainers = DEFAULT_CRAWL_CONTAINERS, image, ...owner } = options;
  return {
    kind: 'crawl',
    required,
    open: async (context) => {
      // Loaded lazily: most Workers run none.
      const { CrawlRunner } = await import('./crawl-runner.js');
      const engine = engineOptions(owner, { ...context, folder: join(context.folder, 'engine') });
      const logBytes = logQuotaBytes(owner);
      return CrawlRunner.open({ ...engine, folder: context.folder, maxContainers, logBytes, ...(image !== undefined && { image }) });
    },
  };
}
