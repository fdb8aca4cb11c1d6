import type { Clock } from '../clock.js';
import { ceilingOf, type OwnerNetwork } from '../egress/policy.js';
import type { Log } from '../log.js';
import type { ContainerEngineOptions } from './container-engine.js';
import type { EngineKind } from './find-engine.js';
import type { PullPolicy } from './images.js';

/** What the owner of a worker says about containers; all of it has a default. */
export interface ContainerOptions {
  /** Default `auto`: docker, else podman. */
  readonly engine?: EngineKind | 'auto';
  /** Images that jobs may use, such as `node`, `ghcr.io/acme/*`; default: all. */
  readonly images?: readonly string[];
  /** When images are pulled: when they are missing (default), always, never. */
  readonly pull?: PullPolicy;
  /** How long one pull may take, in milliseconds; default 10 minutes. */
  readonly pullTimeoutMs?: number;
  /** What the images that this worker has pulled may take, in MiB; default 10240. Those that were there before are not touched. */
  readonly imageQuotaMb?: number;
  /** Memory of one job at most, in MiB; default: the worker's memory of a job. */
  readonly memoryMb?: number;
  /** Processors of one job at most; default: all. */
  readonly cpus?: number;
  /** Processes and threads of one job at most; default 512. */
  readonly pids?: number;
  /** Files that one job may write, in MiB; default 1024. */
  readonly diskMb?: number;
  /** What containers may reach at most; default: what the worker's tasks may. */
  readonly network?: OwnerNetwork;
  /** Containers that this worker cannot filter may use the whole network, the owner's own included. Default false. */
  readonly unfiltered?: boolean;
  /** Where programs and the engine are found; default `process.env`. */
  readonly environment?: NodeJS.ProcessEnv;
}

const DEFAULT_PULL_TIMEOUT_MS = 600_000;
const DEFAULT_IMAGE_QUOTA_MB = 10_240;
const DEFAULT_PIDS = 512;
const DEFAULT_DISK_MB = 1_024;

export interface EnginePlace {
  readonly worker: string;
  readonly memoryMb: number;
  readonly folder: string;
  readonly network?: OwnerNetwork;
  readonly clock: Clock;
  readonly log: Log;
}

/** With the defaults filled in. Throws `container-invalid` for a network that cannot be read. */
export function engineOptions(owner: ContainerOptions, place: EnginePlace): ContainerEngineOptions {
  const { worker, folder, clock, log } = place;
  const { images, environment, engine = 'auto', pull = 'missing', unfiltered = false } = owner;
  return {
    ...{ worker, folder, clock, log, engine, pull },
    pullTimeoutMs: owner.pullTimeoutMs ?? DEFAULT_PULL_TIMEOUT_MS,
    imageQuotaMb: owner.imageQuotaMb ?? DEFAULT_IMAGE_QUOTA_MB,
    ceilings: {
      memoryMb: owner.memoryMb ?? place.memoryMb,
      cpus: owner.cpus ?? Number.POSITIVE_INFINITY,
      pids: owner.pids ?? DEFAULT_PIDS,
      diskMb: owner.diskMb ?? DEFAULT_DISK_MB,
      network: ceilingOf(owner.network ?? place.network ?? 'internet'),
      unfiltered,
    },
    ...(images !== undefined && { allowedImages: images }),
    ...(environment !== undefined && { environment }),
  };
}
