import type { Options } from '../../config.js';
import type { ContainerOptions } from '../../containers/owner-options.js';
import { given } from '../options.js';

/** What the options say about containers, for every runner that uses them. `required`: an engine was named, so the worker must have it. */
export function containerOptionsOf(options: Options): ContainerOptions & { readonly required: boolean } {
  const { containers, images, pull, pullTimeoutMs, imageQuotaMb, containersUnfiltered } = options;
  const ceilings = {
    memoryMb: options.containerMemoryMb,
    cpus: options.containerCpus,
    pids: options.containerPids,
    diskMb: options.containerDiskMb,
    network: options.containerNetwork,
  };
  return {
    engine: containers === 'off' ? 'auto' : containers,
    required: containers === 'docker' || containers === 'podman',
    pull,
    unfiltered: containersUnfiltered,
    ...given({ images, pullTimeoutMs, imageQuotaMb, ...ceilings }),
  };
}
