import type { Clock } from '../clock.js';
import {
  DEFAULT_CONTAINER_DISK_MB,
  DEFAULT_CONTAINER_LOG_MB,
  DEFAULT_CONTAINER_PIDS,
  DEFAULT_ENGINE,
  DEFAULT_IMAGE_QUOTA_MB,
  DEFAULT_NETWORK,
  DEFAULT_PULL,
  DEFAULT_PULL_TIMEOUT_MS,
} from '../config/defaults.js';
import { ceilingOf, type OwnerNetwork } from '../egress/policy.js';
import type { Log } from '../log.js';
import type { ContainerEngineOptions } from './container-engine.js';
import type { EngineKind } from './engine-facts.js';
import type { PullPolicy } from './images.js';

/** The container options of a worker's owner; all of them have defaults. */
export interface ContainerOptions {
  // generated from containerConstructor by `npm run generate`
  /** Container engine; `auto` takes docker, else podman. Default: `auto`. */
  readonly engine?: EngineKind | 'auto';
  /** Images that jobs may use, such as `node`, `node:20-slim` or `ghcr.io/acme/*`; a name without a tag allows all tags. Default: all. */
  readonly images?: readonly string[];
  /**
   * Images that run with the engine’s own defaults: as their own user, including root, and with a writable layer. Limits still apply, your own
   * network stays closed, and they cannot gain privileges. Patterns as in `images`, names with a digest (`name@sha256:…`), or ids. Default:
   * none.
   */
  readonly trustedImages?: readonly string[];
  /** When a job’s image is pulled from its registry. `missing`, `always` or `never`. Default: `missing`. */
  readonly pull?: PullPolicy;
  /** Timeout for pulling one image. Default: 600,000 ms. */
  readonly pullTimeoutMs?: number;
  /** Disk quota for images pulled by this worker; the least recently used are removed first. Other images are never removed. Default: 10,240 MiB. */
  readonly imageQuotaMb?: number;
  /**
   * Memory limit of one container, also used when its job requests none. A job that requests more is refused. Default: three quarters of the
   * engine's machine, and the Worker's `memoryMb` for jobs that request none.
   */
  readonly memoryMb?: number;
  /** CPU limit of one container, in cores; fractions such as 0.5 are allowed. Default: all. */
  readonly cpus?: number;
  /** Limit on processes and threads in one container. Default: 512. */
  readonly pids?: number;
  /**
   * How much one container may write to its output folder and, if its image is trusted, to its own layer; it cannot write anywhere else on disk.
   * Default: 1,024 MiB.
   */
  readonly diskMb?: number;
  /**
   * Disk quota for stored container output (`peerwork logs`), separately for container jobs and for crawls; the oldest is removed first. 0
   * stores nothing. Default: 256 MiB.
   */
  readonly logMb?: number;
  /** Network that containers may reach, if different from other jobs: `none`, `internet` or hosts. Default: the Worker's `taskNetwork`. */
  readonly network?: OwnerNetwork;
  /**
   * Allow containers whose traffic this machine cannot filter to use the whole network, including your own. Without it, such a job fails if it
   * needs a network. Default: `false`.
   */
  readonly unfiltered?: boolean;
  /** Variables that lead to programs and to the engine. Default: `process.env`. */
  readonly environment?: NodeJS.ProcessEnv;
  // end
}

export function logQuotaBytes({ logMb = DEFAULT_CONTAINER_LOG_MB }: ContainerOptions): number {
  return logMb * 1024 * 1024;
}

export interface EnginePlace {
  readonly worker: string;
  readonly memoryMb: number;
  readonly folder: string;
  readonly network?: OwnerNetwork;
  readonly clock: Clock;
  readonly log: Log;
}

/** Fills in the defaults. Throws `container-invalid` for an invalid network. */
export function engineOptions(owner: ContainerOptions, place: EnginePlace): ContainerEngineOptions {
  const { worker, folder, clock, log } = place;
  const { images, trustedImages, environment, engine = DEFAULT_ENGINE, pull = DEFAULT_PULL, unfiltered = false } = owner;
  return {
    ...{ worker, folder, clock, log, engine, pull },
    pullTimeoutMs: owner.pullTimeoutMs ?? DEFAULT_PULL_TIMEOUT_MS,
    imageQuotaMb: owner.imageQuotaMb ?? DEFAULT_IMAGE_QUOTA_MB,
    ceilings: {
      memoryMb: owner.memoryMb,
      defaultMemoryMb: owner.memoryMb ?? place.memoryMb,
      cpus: owner.cpus ?? Number.POSITIVE_INFINITY,
      pids: owner.pids ?? DEFAULT_CONTAINER_PIDS,
      diskMb: owner.diskMb ?? DEFAULT_CONTAINER_DISK_MB,
      network: ceilingOf(owner.network ?? place.network ?? DEFAULT_NETWORK),
      unfiltered,
    },
    ...(images !== undefined && { allowedImages: images }),
    ...(trustedImages !== undefined && { trustedImages }),
    ...(environment !== undefined && { environment }),
  };
}
