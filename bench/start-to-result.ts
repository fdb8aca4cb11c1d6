import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { sharedNow } from './lab/child.js';
import { cpuOf, spawnCliWorker } from './lab/cli-worker.js';
import { type Grid, startMaster } from './lab/grid.js';
import { endProcess, type Lab, packageRoot } from './lab/lab.js';
import { type Benchmark, median, quantile } from './lab/report.js';

/** What Worker, first child, tracker and handshake take, in starts of Node. */
const MOST_BARE_STARTS = 7;
const RUNS = 20;
const BARE_STARTS = 7;

/**
 * From the start of the process `node worker.js` to the moment that the Master knows the outcome of its first job, in starts of a bare
 * `node -e 0`. The tracker is on loopback; files and dependencies of the task are there from an earlier run.
 */
export const startToResult: Benchmark = {
  name: 'start-to-result',
  async run(lab) {
    const grid = await startMaster(lab, dependentTask());
    const home = lab.makeFolder('home');
    const times: number[] = [];
    const bare: number[] = [];
    // The first run fetches what later runs find.
    for (let run = 0; run <= RUNS; run += 1) {
      const { tookMs } = await startOnce(lab, grid, home);
      if (run === 0) continue;
      times.push(tookMs);
      bare.push(bareStartMs());
    }
    const [p50, bareP50] = [quantile(times, 0.5), quantile(bare, 0.5)];
    return [
      {
        benchmark: 'worker start to first result, p50',
        figure: `${Math.round(p50)} ms`,
        reference: `node -e 0: ${Math.round(bareP50)} ms`,
        ratio: median(times.map((ms, run) => ms / (bare[run] ?? Number.NaN))),
        target: { most: MOST_BARE_STARTS },
        notes: [
          `${RUNS} runs: fastest ${Math.round(Math.min(...times))}, p95 ${Math.round(quantile(times, 0.95))}, slowest ${Math.round(Math.max(...times))} ms`,
        ],
        values: { times, bare },
      },
    ];
  },
};

/** Milliseconds that Node takes to start and end with nothing to do; the median of some. */
export function bareStartMs(): number {
  return median(
    Array.from({ length: BARE_STARTS }, () => {
      const startedAt = performance.now();
      spawnSync(process.execPath, ['-e', '0']);
      return performance.now() - startedAt;
    }),
  );
}

export interface FirstResult {
  /** From the start of the Worker's process to the outcome of a job that waits for it. */
  readonly tookMs: number;
  /** User and system time of the Worker's process alone until then. */
  readonly cpuMs: number;
}

export async function startOnce(lab: Lab, grid: Grid, home: string): Promise<FirstResult> {
  const id = await grid.master.ask('push', undefined);
  const startedAt = sharedNow();
  const worker = spawnCliWorker(lab, grid, home);
  const settledAt = await grid.master.ask('settled', { id }, 60_000);
  const cpuMs = cpuOf(worker.pid ?? 0);
  await endProcess(worker);
  return { tookMs: settledAt - startedAt, cpuMs };
}

/** Needs one package, the same and of the same version as this project does, so that it is likely to be in npm's cache. */
export function dependentTask(): Readonly<Record<string, string>> {
  const name = 'tweetnacl';
  const lock = JSON.parse(readFileSync(join(packageRoot, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, { version: string } | undefined>;
  };
  const entry = lock.packages[`node_modules/${name}`];
  if (entry === undefined) throw new Error(`${name} is not in package-lock.json`);
  const root = { name: 'bench-task', version: '1.0.0', dependencies: { [name]: entry.version } };
  return {
    'task.mjs': `import nacl from '${name}';\nexport default () => nacl.hash(new Uint8Array(8)).length;\n`,
    'package.json': JSON.stringify(root),
    'package-lock.json': JSON.stringify({
      name: root.name,
      version: root.version,
      lockfileVersion: 3,
      requires: true,
      packages: { '': root, [`node_modules/${name}`]: entry },
    }),
  };
}
