import { type Grid, startMaster, startWorker } from './lab/grid.js';
import { Lab } from './lab/lab.js';
import { type Benchmark, median, quantile } from './lab/report.js';
import { dependentTask, startOnce } from './start-to-result.js';

const STARTS = 20;
const WARM_JOBS = 100;
const ROUND_TRIPS = 100;
const JOBS = 5_000;
const ROUNDS = 5;
const CONCURRENCY = 4;

/**
 * This checkout against another one (`--against`), each with a Master and Workers of its own, in turn, so that what else the machine does meets
 * both. What a release may cost: a warm job 5 ms more, throughput and start to first result 5 %.
 */
export const versions: Benchmark = {
  name: 'versions',
  async run(lab) {
    if (lab.against === undefined) throw new Error('--against names no checkout');
    const other = new Lab({ root: lab.against });
    lab.onClose(() => other.close());
    const starts = await inTurn(STARTS, await starter(lab), await starter(other));
    const [ours, theirs] = [await warmGrid(lab), await warmGrid(other)];
    const trips = (grid: Grid) => async () => median(await grid.master.ask('roundTrips', { jobs: ROUND_TRIPS }));
    const warm = await inTurn(ROUNDS, trips(ours), trips(theirs));
    const rate = (grid: Grid) => async () => JOBS / ((await grid.master.ask('run', { jobs: JOBS })) / 1_000);
    const rates = await inTurn(ROUNDS, rate(ours), rate(theirs));
    const ms = (value: number) => `${value.toFixed(value < 10 ? 2 : 0)} ms`;
    return [
      row('worker start to first result, p50', starts, ms, { most: 1.05 }),
      {
        ...row('a warm job, push to outcome, p50', warm, ms),
        notes: [`difference ${(median(warm.ours) - median(warm.theirs)).toFixed(2)} ms, allowed are 5`, spread(warm, ms)],
      },
      row('job throughput', rates, (value) => `${Math.round(value)} jobs/s`, { least: 0.95 }),
    ];
  },
};

interface Pairs {
  readonly ours: readonly number[];
  readonly theirs: readonly number[];
}

async function inTurn(rounds: number, ours: () => Promise<number>, theirs: () => Promise<number>): Promise<Pairs> {
  const pairs = { ours: [] as number[], theirs: [] as number[] };
  for (let round = 0; round < rounds; round += 1) {
    // Who is first changes: the second of two may find warmer caches.
    if (round % 2 === 0) pairs.ours.push(await ours());
    pairs.theirs.push(await theirs());
    if (round % 2 === 1) pairs.ours.push(await ours());
  }
  return pairs;
}

function row(benchmark: string, pairs: Pairs, show: (value: number) => string, target?: { most: number } | { least: number }) {
  return {
    benchmark,
    figure: show(quantile(pairs.ours, 0.5)),
    reference: `the other checkout: ${show(quantile(pairs.theirs, 0.5))}`,
    ratio: median(pairs.ours.map((value, round) => value / (pairs.theirs[round] ?? Number.NaN))),
    ...(target !== undefined && { target }),
    notes: [spread(pairs, show)],
    values: { ...pairs },
  };
}

function spread({ ours, theirs }: Pairs, show: (value: number) => string): string {
  const range = (values: readonly number[]) => `${show(Math.min(...values))} to ${show(Math.max(...values))}`;
  return `${ours.length} pairs: ours ${range(ours)}, theirs ${range(theirs)}`;
}

/** Starts a Worker and waits for its first outcome; the first start, which fetches what later ones find, is not counted. */
async function starter(lab: Lab): Promise<() => Promise<number>> {
  const grid = await startMaster(lab, dependentTask());
  const home = lab.makeFolder('home');
  await startOnce(lab, grid, home);
  return () => startOnce(lab, grid, home);
}

async function warmGrid(lab: Lab): Promise<Grid> {
  const grid = await startMaster(lab);
  await startWorker(lab, grid, CONCURRENCY);
  await grid.master.ask('run', { jobs: WARM_JOBS });
  return grid;
}
