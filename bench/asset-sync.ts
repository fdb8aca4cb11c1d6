import { randomBytes } from 'node:crypto';
import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { BareChannel } from './lab/channel.js';
import { publishedAfter, startMaster, startWorker, TRIVIAL_TASK } from './lab/grid.js';
import { type Benchmark, median } from './lab/report.js';

const FILE_BYTES = 64 * 1024 * 1024;
const ROUNDS = 5;
const WARM_BYTES = 8 * 1024 * 1024;
const NAME = 'model.bin';

/**
 * A task with a file that cannot be compressed, from the request for its manifest until it stands verified in the workplace on the
 * Worker's disk; against the same bytes through a bare data channel, which only counts them.
 */
export const assetSync: Benchmark = {
  name: 'asset-sync',
  async run(lab) {
    const bare = await BareChannel.open(lab);
    const grid = await startMaster(lab, { 'task.mjs': TRIVIAL_TASK, [NAME]: randomBytes(WARM_BYTES) });
    const worker = await startWorker(lab, grid, 1);
    await bare.transfer(WARM_BYTES);
    await grid.master.ask('roundTrips', { jobs: 1 });
    await worker.ask('takeSyncs', undefined);
    const ours: number[] = [];
    const theirs: number[] = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      const beside = join(lab.folder, NAME);
      await writeFile(beside, randomBytes(FILE_BYTES));
      await publishedAfter(grid, () => rename(beside, join(grid.taskFolder, NAME)));
      await grid.master.ask('roundTrips', { jobs: 1 });
      const [sync] = await worker.ask('takeSyncs', undefined);
      if (sync === undefined || sync.bytes < FILE_BYTES) throw new Error(`the sync told of ${sync?.bytes} bytes`);
      ours.push(sync.bytes / 1e3 / sync.ms);
      theirs.push(FILE_BYTES / 1e3 / (await bare.transfer(FILE_BYTES)));
    }
    return [
      {
        benchmark: 'asset sync of 64 MiB',
        figure: `${median(ours).toFixed(1)} MB/s`,
        reference: `bare data channel ${median(theirs).toFixed(1)} MB/s`,
        ratio: median(ours.map((rate, round) => rate / (theirs[round] ?? Number.NaN))),
        target: { least: 0.8 },
        notes: [`ours ${ours.map((rate) => rate.toFixed(1)).join(' ')}; bare ${theirs.map((rate) => rate.toFixed(1)).join(' ')} MB/s`],
        values: { ours, theirs },
      },
    ];
  },
};
