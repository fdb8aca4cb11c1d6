import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { systemClock } from '../../src/clock.js';
import { ContainerEngine, type ContainerEngineOptions, type JobEgress } from '../../src/containers/container-engine.js';
import type { ContainerSpec } from '../../src/containers/container-spec.js';
import type { ContainerExit } from '../../src/containers/exit.js';
import { silentLog } from '../../src/log.js';
import { removeFolder } from '../lab/remove-folder.js';

export const labCeilings = {
  memoryMb: 512,
  defaultMemoryMb: 512,
  cpus: 2,
  pids: 128,
  diskMb: 64,
  network: { internet: true, hosts: [] },
  unfiltered: false,
} as const;

/** Opens an engine for one test, in a folder that is removed with it. */
export async function openEngine(t: Test, options: Partial<ContainerEngineOptions> = {}): Promise<ContainerEngine> {
  const folder = options.folder ?? (await mkdtemp(join(tmpdir(), 'peerwork-engine-')));
  const engine = await ContainerEngine.open({
    engine: 'auto',
    worker: 'tester',
    folder,
    ceilings: labCeilings,
    pull: 'never',
    pullTimeoutMs: 60_000,
    imageQuotaMb: 1_024,
    clock: systemClock,
    log: silentLog,
    ...options,
  });
  t.teardown(async () => {
    await engine.close();
    await removeFolder(folder);
  });
  return engine;
}

export interface Ran {
  readonly exit: ContainerExit;
  readonly lines: readonly string[];
  readonly stdout: string;
}

/** Runs a command in a container to its end. */
export async function runIn(
  engine: ContainerEngine,
  image: string,
  command: readonly string[],
  more: Partial<ContainerSpec> = {},
  egress: Partial<JobEgress> = {},
): Promise<Ran> {
  const way = await engine.openEgress({ job: 'a-job', imageLabels: {}, network: 'none', ...egress });
  const lines: string[] = [];
  const spec = { job: 'a-job', image, command, memoryMb: 128, cpus: 1, pids: 64, tmpMb: 16, egress: way, ...more };
  const container = await engine.start(spec, (stream, line) => lines.push(`${stream}: ${line}`));
  const exit = await container.ended;
  await container.remove();
  await way.close();
  return { exit, lines, stdout: container.stdoutTail };
}
