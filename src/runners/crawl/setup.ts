import { availableParallelism } from 'node:os';
import type { NetworkCeiling } from '../../containers/egress/policy.js';
import type { EngineKind } from '../../containers/find-engine.js';
import type { PullPolicy } from '../../containers/images.js';
import type { RunnerSetup } from '../setup.js';

/** How a Worker runs crawls. */
export interface CrawlSetupOptions {
  /** Default: docker where it works, else podman. */
  readonly engine?: EngineKind | 'auto';
  /** A Worker that cannot run crawls does not start. Default false. */
  readonly required?: boolean;
  /** How many containers one crawl may have here; default 8. */
  readonly maxContainers?: number;
  /** What a crawl that names no image runs in; default: our own crawler, built when it is first needed. */
  readonly image?: string;
  /** Patterns of images that crawls may name, besides our own; default all. */
  readonly allowedImages?: readonly string[];
  /** When images that crawls name are pulled; default `missing`. */
  readonly pull?: PullPolicy;
  /** What pulled images may take, in MiB; default 10,240. */
  readonly imageQuotaMb?: number;
  /** Of one container, in MiB; default: the Worker's memory of one job. */
  readonly memoryMb?: number;
  /** Processors of one container; default: all. */
  readonly cpus?: number;
  /** What crawls may reach at most; default: the public internet, and nothing in the owner's own network. */
  readonly network?: NetworkCeiling;
  /** Containers that cannot be filtered may use the whole network. Default false. */
  readonly unfiltered?: boolean;
}

const DEFAULT_CONTAINERS = 8;
const DEFAULT_QUOTA_MB = 10_240;
const PULL_MS = 900_000;
const PIDS = 256;
const DISK_MB = 256;

/** Crawls in containers of this machine. */
export function crawlRunner(options: CrawlSetupOptions = {}): RunnerSetup {
  const {
    engine = 'auto',
    required = false,
    maxContainers = DEFAULT_CONTAINERS,
    pull = 'missing',
    imageQuotaMb = DEFAULT_QUOTA_MB,
  } = options;
  const { image, allowedImages, cpus = availableParallelism(), network = { internet: true, hosts: [] }, unfiltered = false } = options;
  return {
    kind: 'crawl',
    required,
    open: async ({ worker, memoryMb, folder, clock, log }) => {
      // Loaded only now: most Workers run none.
      const { CrawlRunner } = await import('./crawl-runner.js');
      return CrawlRunner.open({
        engine,
        worker,
        folder,
        maxContainers,
        ceilings: { memoryMb: options.memoryMb ?? memoryMb, cpus, pids: PIDS, diskMb: DISK_MB, network, unfiltered },
        pull,
        pullTimeoutMs: PULL_MS,
        imageQuotaMb,
        clock,
        log,
        ...(image !== undefined && { image }),
        ...(allowedImages !== undefined && { allowedImages }),
      });
    },
  };
}
