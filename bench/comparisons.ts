import { residentBytes, spawnCliWorker } from './lab/cli-worker.js';
import { type Grid, startMaster, startWorker } from './lab/grid.js';
import { endProcess, type Lab } from './lab/lab.js';
import { median, megabytes } from './lab/report.js';
import { bareStartMs, dependentTask, startOnce } from './start-to-result.js';

const WARM_JOBS = 1_000;
const ROUND_TRIPS = 100;
const JOBS = 5_000;
const CONCURRENCY = 4;
const IDLE_MS = 5_000;

/** One figure of a comparison. */
export interface Measure {
  readonly label: string;
  readonly better: 'less' | 'more';
  show(value: number): string;
}

/** What is measured of two checkouts in turns. It knows only what both have: their lab's processes and command line. */
export interface Comparison {
  readonly name: string;
  /** Pairs, unless told otherwise. */
  readonly rounds: number;
  readonly measures: Readonly<Record<string, Measure>>;
  /** Makes ready what all rounds share; the function measures once, each figure by the name of its measure. */
  open(lab: Lab): Promise<() => Promise<Readonly<Record<string, number>>>>;
}

const ms = (value: number) => `${value.toFixed(value < 10 ? 2 : 0)} ms`;
const us = (value: number) => `${value.toFixed(0)} µs`;

const startToResult: Comparison = {
  name: 'start-to-result',
  rounds: 15,
  measures: {
    ms: { label: 'worker start to first result', better: 'less', show: ms },
    bare: { label: '… in bare starts of Node', better: 'less', show: (value) => `${value.toFixed(1)} ×` },
    cpu: { label: "… CPU of the Worker's process", better: 'less', show: ms },
  },
  async open(lab) {
    const grid = await startMaster(lab, dependentTask());
    const home = lab.makeFolder('home');
    // The first start, which fetches what later ones find, is not counted.
    await startOnce(lab, grid, home);
    return async () => {
      const bare = bareStartMs();
      const { tookMs, cpuMs } = await startOnce(lab, grid, home);
      return { ms: tookMs, bare: tookMs / bare, cpu: cpuMs };
    };
  },
};

const idleMemory: Comparison = {
  name: 'idle-memory',
  rounds: 3,
  measures: {
    fresh: { label: 'idle worker, RSS', better: 'less', show: megabytes },
    used: { label: 'idle worker after 100 jobs, RSS', better: 'less', show: megabytes },
  },
  async open(lab) {
    const grid = await startMaster(lab);
    return async () => {
      const worker = spawnCliWorker(lab, grid, lab.makeFolder('home'));
      const pid = worker.pid ?? 0;
      await grid.master.ask('joined', { workers: 1 });
      await pause(IDLE_MS);
      const fresh = residentBytes(pid);
      await grid.master.ask('roundTrips', { jobs: 100 });
      await pause(IDLE_MS);
      const used = residentBytes(pid);
      await endProcess(worker);
      while ((await grid.master.ask('workers', undefined)) > 0) await pause(20);
      return { fresh, used };
    };
  },
};

const throughput: Comparison = {
  name: 'throughput',
  rounds: 7,
  measures: {
    rate: { label: 'job throughput', better: 'more', show: (value) => `${Math.round(value)} jobs/s` },
    master: { label: '… CPU of the Master, a job', better: 'less', show: us },
    worker: { label: '… CPU of the Worker, a job', better: 'less', show: us },
  },
  async open(lab) {
    const { grid, worker } = await warmGrid(lab);
    return async () => {
      const before = [await grid.master.ask('usage', undefined), await worker.ask('usage', undefined)] as const;
      const tookMs = await grid.master.ask('run', { jobs: JOBS });
      const after = [await grid.master.ask('usage', undefined), await worker.ask('usage', undefined)] as const;
      const aJob = (side: 0 | 1) => ((after[side].cpuMs - before[side].cpuMs) * 1_000) / JOBS;
      return { rate: JOBS / (tookMs / 1_000), master: aJob(0), worker: aJob(1) };
    };
  },
};

const roundTrip: Comparison = {
  name: 'round-trip',
  rounds: 7,
  measures: { ms: { label: 'a warm job, push to outcome, p50', better: 'less', show: ms } },
  async open(lab) {
    const { grid } = await warmGrid(lab);
    return async () => ({ ms: median(await grid.master.ask('roundTrips', { jobs: ROUND_TRIPS })) });
  },
};

export const comparisons: readonly Comparison[] = [startToResult, idleMemory, throughput, roundTrip];

async function warmGrid(lab: Lab): Promise<{ grid: Grid; worker: Awaited<ReturnType<typeof startWorker>> }> {
  const grid = await startMaster(lab);
  const worker = await startWorker(lab, grid, CONCURRENCY);
  await grid.master.ask('run', { jobs: WARM_JOBS });
  return { grid, worker };
}

function pause(forMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, forMs));
}
