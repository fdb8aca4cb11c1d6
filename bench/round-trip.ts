import { closeSync, fdatasyncSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { BareChannel } from './lab/channel.js';
import { startMaster, startWorker } from './lab/grid.js';
import { type Benchmark, quantile } from './lab/report.js';

const JOBS = 300;
const BLOCK = 25;
const WARM_JOBS = 1_000;
/** Between two jobs, and two messages, so that the grid and the channel are idle again. */
const PAUSE_MS = 10;
const BUSY_JOBS = 200;
/** A page of the ledger and its header in the write-ahead log. */
const COMMIT_BYTES = 4_096 + 24;

/**
 * One job at a time: pushed, committed, run in its process, committed and known; against a message of 200 bytes that the other end of a
 * bare channel sends back at once. How long the disk takes for such a commit alone is measured in between.
 */
export const roundTrip: Benchmark = {
  name: 'round-trip',
  async run(lab) {
    const bare = await BareChannel.open(lab);
    const grid = await startMaster(lab);
    await startWorker(lab, grid, 1);
    await bare.roundTrips(WARM_JOBS, 0);
    await grid.master.ask('run', { jobs: WARM_JOBS });
    const log = openSync(join(lab.makeFolder('disk'), 'log'), 'w');
    const ours: number[] = [];
    const theirs: number[] = [];
    const disk: number[] = [];
    for (let done = 0; done < JOBS; done += BLOCK) {
      ours.push(...(await grid.master.ask('roundTrips', { jobs: BLOCK, pauseMs: PAUSE_MS })));
      theirs.push(...(await bare.roundTrips(BLOCK, PAUSE_MS)));
      for (let at = 0; at < BLOCK; at += 1) disk.push(syncMs(log));
    }
    closeSync(log);
    const busy = quantile(await grid.master.ask('roundTrips', { jobs: BUSY_JOBS }), 0.5);
    const bareBusy = quantile(await bare.roundTrips(BUSY_JOBS, 0), 0.5);
    const p50 = quantile(ours, 0.5);
    const bareP50 = quantile(theirs, 0.5);
    const spread = (values: readonly number[]) =>
      `fastest ${Math.min(...values).toFixed(2)}, p50 ${quantile(values, 0.5).toFixed(2)}, p95 ${quantile(values, 0.95).toFixed(2)} ms`;
    return [
      {
        benchmark: 'round trip of one job on an idle grid, p50',
        figure: `${p50.toFixed(2)} ms`,
        reference: `bare data channel ${bareP50.toFixed(2)} ms`,
        ratio: p50 / bareP50,
        target: { most: 10 },
        notes: [
          `job: ${spread(ours)}`,
          `bare: ${spread(theirs)}`,
          `without the pauses: job ${busy.toFixed(2)}, bare ${bareBusy.toFixed(2)} ms`,
          `one of its two commits on this disk, write and fdatasync alone: ${spread(disk)}`,
        ],
        values: { ours, theirs, disk, busy, bareBusy },
      },
    ];
  },
};

function syncMs(file: number): number {
  writeSync(file, Buffer.alloc(COMMIT_BYTES, 1));
  const startedAt = performance.now();
  fdatasyncSync(file);
  return performance.now() - startedAt;
}
