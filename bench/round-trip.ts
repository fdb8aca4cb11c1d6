import { BareChannel } from './lab/channel.js';
import { startMaster, startWorker } from './lab/grid.js';
import { type Benchmark, quantile } from './lab/report.js';

const JOBS = 300;
const BLOCK = 50;
const WARM_JOBS = 100;

/** One job at a time: pushed, committed, run and known; against a message of 200 bytes that is sent back by the other end at once. */
export const roundTrip: Benchmark = {
  name: 'round-trip',
  async run(lab) {
    const bare = await BareChannel.open(lab);
    const grid = await startMaster(lab);
    await startWorker(lab, grid, 1);
    await bare.roundTrips(WARM_JOBS);
    await grid.master.ask('roundTrips', { jobs: WARM_JOBS });
    const ours: number[] = [];
    const theirs: number[] = [];
    for (let done = 0; done < JOBS; done += BLOCK) {
      ours.push(...(await grid.master.ask('roundTrips', { jobs: BLOCK })));
      theirs.push(...(await bare.roundTrips(BLOCK)));
    }
    const p50 = quantile(ours, 0.5);
    const bareP50 = quantile(theirs, 0.5);
    return [
      {
        benchmark: 'round trip of one job on an idle grid, p50',
        figure: `${p50.toFixed(2)} ms`,
        reference: `bare data channel ${bareP50.toFixed(2)} ms`,
        ratio: p50 / bareP50,
        target: { most: 10 },
        notes: [
          `job: fastest ${Math.min(...ours).toFixed(2)}, p95 ${quantile(ours, 0.95).toFixed(2)} ms; bare: fastest ${Math.min(...theirs).toFixed(2)}, p95 ${quantile(theirs, 0.95).toFixed(2)} ms`,
        ],
        values: { ours, theirs },
      },
    ];
  },
};
