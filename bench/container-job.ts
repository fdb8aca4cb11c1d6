import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { systemClock } from '../src/clock.js';
import { silentLog } from '../src/log.js';
import { ContainerRunner } from '../src/runners/container/container-runner.js';
import { LabDocker } from '../test/lab/docker.js';
import type { Lab } from './lab/lab.js';
import { type Benchmark, median } from './lab/report.js';

const COMMAND = ['sh', '-c', 'exit 0'] as const;
const ROUNDS = 7;
/** One after the other, so that what a job leaves to be removed in the background counts too. */
const JOBS_PER_ROUND = 5;

/** What a container job takes beside `docker run` of the same image and command by hand: files in and out, limits, the look at its end, removal. */
export const containerJob: Benchmark = {
  name: 'container-job',
  async run(lab) {
    const engine = await LabDocker.start();
    lab.onClose(() => engine.close());
    const image = await engine.tinyImage();
    const runner = await openRunner(lab, engine);
    const bare = (network: string) => engine.docker('run', '--rm', `--network=${network}`, image, ...COMMAND);
    const job = async () => {
      const outcome = await runner.run(
        { id: 'a-job', channel: 'default', attempt: 1, timeoutMs: 60_000, data: { image, command: [...COMMAND] } },
        { signal: new AbortController().signal, report: () => {} },
      );
      if (outcome.state !== 'completed') throw new Error(JSON.stringify(outcome));
    };
    const ways = { job, bare: () => bare('none'), bridge: () => bare('bridge') };
    const took: Record<keyof typeof ways, number[]> = { job: [], bare: [], bridge: [] };
    const names = Object.keys(ways) as (keyof typeof ways)[];
    for (const name of names) await ways[name]();
    for (let round = 0; round < ROUNDS; round += 1) {
      for (const name of names) {
        const startedAt = performance.now();
        for (let count = 0; count < JOBS_PER_ROUND; count += 1) await ways[name]();
        took[name].push((performance.now() - startedAt) / JOBS_PER_ROUND);
      }
    }
    const [jobMs, bareMs, bridgeMs] = [median(took.job), median(took.bare), median(took.bridge)];
    return [
      {
        benchmark: 'container job',
        figure: `${jobMs.toFixed(0)} ms a job`,
        reference: `docker run --rm --network none: ${bareMs.toFixed(0)} ms`,
        ratio: jobMs / bareMs,
        target: { most: 1.2 },
        notes: [`docker run --rm on the default bridge: ${bridgeMs.toFixed(0)} ms; medians of ${ROUNDS} rounds of ${JOBS_PER_ROUND}`],
        values: took,
      },
    ];
  },
};

async function openRunner(lab: Lab, { environment }: LabDocker): Promise<ContainerRunner> {
  const folder = lab.makeFolder('runner');
  mkdirSync(join(folder, 'jobs'));
  const context = { worker: 'bench', concurrency: 1, memoryMb: 256, folder, clock: systemClock, log: silentLog };
  const runner = await ContainerRunner.open({ pull: 'never', environment: { ...process.env, ...environment } }, context);
  lab.onClose(() => runner.close());
  return runner;
}
