import type { CoreOptions } from '../config/core.js';
import { DEFAULT_ENGINE } from '../config/defaults.js';
import type { ContainerOptions } from '../containers/owner-options.js';
import { omitUndefined } from '../kit/omit.js';
import type { WireRunner } from '../wires/wire.js';
import { checkEngine } from './health/check-engine.js';
import { wires } from './wires.js';

const containerCommand: WireRunner = {
  kind: 'container',
  wanted: ({ containers }) => containers !== 'off',
  async setup(options) {
    const { containerRunner } = await import('../runners/container/container-runner.js');
    return containerRunner(containerOptionsOf(options));
  },
  async check(options) {
    const { engine = DEFAULT_ENGINE, required } = containerOptionsOf(options);
    const { findEngine } = await import('../containers/find-engine.js');
    const needed = wires.some((source) => source.needsContainers === true && source.configured(options));
    return [await checkEngine(() => findEngine(engine, process.env), { required: required || needed })];
  },
};

const crawlCommand: WireRunner = {
  kind: 'crawl',
  wanted: ({ containers }) => containers !== 'off',
  async setup(options) {
    const { crawlRunner } = await import('../runners/crawl/setup.js');
    return crawlRunner({ ...containerOptionsOf(options), ...omitUndefined({ maxContainers: options.crawlContainers }) });
  },
};

/** The runners besides that of task modules. */
export const runnerCommands: readonly WireRunner[] = [containerCommand, crawlCommand, ...wires.flatMap(({ runner }) => runner ?? [])];

/**
 * Maps the options to those of every runner that uses containers. `required` means that an engine was named, so that the worker
 * must have it.
 */
export function containerOptionsOf(options: CoreOptions): ContainerOptions & { readonly required: boolean } {
  const { containers, images, trustedImages, pull, pullTimeoutMs, imageQuotaMb, containersUnfiltered } = options;
  const ceilings = {
    memoryMb: options.containerMemoryMb,
    cpus: options.containerCpus,
    pids: options.containerPids,
    diskMb: options.containerDiskMb,
    logMb: options.containerLogMb,
    network: options.containerNetwork,
  };
  return {
    engine: containers === 'off' ? 'auto' : containers,
    required: containers === 'docker' || containers === 'podman',
    pull,
    unfiltered: containersUnfiltered,
    ...omitUndefined({ images, trustedImages, pullTimeoutMs, imageQuotaMb, ...ceilings }),
  };
}
