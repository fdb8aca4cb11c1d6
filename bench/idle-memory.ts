import { residentBytes, spawnCliWorker } from './lab/cli-worker.js';
import { startMaster } from './lab/grid.js';
import { type Benchmark, megabytes } from './lab/report.js';

const LIMIT_BYTES = 75e6;
const IDLE_MS = 10_000;
const JOBS = 100;

/** Resident memory of `node worker.js` itself, connected and without work: before its first job, and after some. */
export const idleMemory: Benchmark = {
  name: 'idle-memory',
  async run(lab) {
    const grid = await startMaster(lab);
    const worker = spawnCliWorker(lab, grid, lab.makeFolder('home'));
    const pid = worker.pid;
    if (pid === undefined) throw new Error('the worker cannot be started');
    await grid.master.ask('joined', { workers: 1 });
    await pause(IDLE_MS);
    const fresh = residentBytes(pid);
    await grid.master.ask('roundTrips', { jobs: JOBS });
    await pause(IDLE_MS);
    const used = residentBytes(pid);
    const row = (benchmark: string, bytes: number) =>
      ({
        benchmark,
        figure: megabytes(bytes),
        reference: `limit ${megabytes(LIMIT_BYTES)}`,
        ratio: bytes / LIMIT_BYTES,
        target: { most: 1 },
        values: { bytes },
      }) as const;
    return [row('idle worker, RSS', fresh), row(`idle worker after ${JOBS} jobs, RSS`, used)];
  },
};

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
