import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { systemClock } from '../../src/clock.js';
import { ContainerEngine, type ContainerEngineOptions } from '../../src/containers/container-engine.js';
import type { ContainerSpec } from '../../src/containers/container-spec.js';
import { silentLog } from '../../src/log.js';
import { insideDockerLab } from '../lab/docker.js';

const lab = await insideDockerLab(t, import.meta.url);

async function open(t: Test, options: Partial<ContainerEngineOptions> = {}): Promise<ContainerEngine> {
  const folder = options.folder ?? (await mkdtemp(join(tmpdir(), 'peerwork-engine-')));
  const engine = await ContainerEngine.open({
    engine: 'auto',
    worker: 'tester',
    folder,
    ceilings: { memoryMb: 512, cpus: 2, pids: 128, diskMb: 64, network: { internet: true, hosts: [] }, unfiltered: false },
    pull: 'never',
    pullTimeoutMs: 60_000,
    imageQuotaMb: 1_024,
    clock: systemClock,
    log: silentLog,
    ...options,
  });
  t.teardown(async () => {
    await engine.close();
    await rm(folder, { recursive: true, force: true });
  });
  return engine;
}

if (lab !== undefined) {
  const image = await lab.tinyImage();
  const run = async (engine: ContainerEngine, command: string, more: Partial<ContainerSpec> = {}) => {
    const egress = await engine.openEgress({ job: 'a-job', imageLabels: {}, network: 'none' });
    const lines: string[] = [];
    const spec = { job: 'a-job', image, command: ['sh', '-c', command], memoryMb: 64, cpus: 1, pids: 64, tmpMb: 16, egress, ...more };
    const container = await engine.start(spec, (stream, line) => lines.push(`${stream}: ${line}`));
    return { container, lines, exit: await container.ended };
  };

  t.test('a container runs with the least that the engine can give', async (t) => {
    const engine = await open(t);
    t.match(engine.facts, { kind: 'docker', local: true, rootless: false });
    const { lines, exit } = await run(
      engine,
      'id -u; while read l; do case $l in CapEff*|NoNewPrivs*|Seccomp:*) echo $l;; esac; done < /proc/self/status; touch /x; echo $A >&2; exit 3',
      {
        env: { A: 'b c' },
      },
    );
    t.same(
      lines.filter((line) => line.startsWith('stdout')),
      ['stdout: 1000', 'stdout: CapEff: 0000000000000000', 'stdout: NoNewPrivs: 1', 'stdout: Seccomp: 2'],
    );
    t.ok(lines.includes('stderr: b c'), 'its variables reach it');
    t.ok(
      lines.some((line) => line.includes('Read-only file system')),
      'its root cannot be written',
    );
    t.same(exit, { exitCode: 3, outOfMemory: false });
  });
}
