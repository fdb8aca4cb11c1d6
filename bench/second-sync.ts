import { randomBytes } from 'node:crypto';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { publishedAfter, startMaster, startWorker, TRIVIAL_TASK } from './lab/grid.js';
import type { Benchmark } from './lab/report.js';

const FILE_BYTES = 50 * 1024 * 1024;
const LIMIT_BYTES = 1024 * 1024;
const NAME = 'model.bin';

/** What travels when a Worker meets a task again: unchanged, after a restart; and with one byte of a large file changed. */
export const secondSync: Benchmark = {
  name: 'second-sync',
  async run(lab) {
    const grid = await startMaster(lab, { 'task.mjs': TRIVIAL_TASK, [NAME]: randomBytes(FILE_BYTES) });
    const home = lab.makeFolder('home');
    const first = await startWorker(lab, grid, 1, home);
    await grid.master.ask('roundTrips', { jobs: 1 });
    const all = (await first.ask('takeSyncs', undefined)).reduce((sum, { bytes }) => sum + bytes, 0);
    await first.end();

    const again = await startWorker(lab, grid, 1, home);
    await grid.master.ask('roundTrips', { jobs: 1 });
    const unchanged = (await again.ask('takeSyncs', undefined)).reduce((sum, { bytes }) => sum + bytes, 0);
    const unchangedTraffic = await again.ask('received', undefined);

    await publishedAfter(grid, async () => changeOneByte(join(grid.taskFolder, NAME)));
    await grid.master.ask('roundTrips', { jobs: 1 });
    const changed = (await again.ask('takeSyncs', undefined)).reduce((sum, { bytes }) => sum + bytes, 0);
    const changedTraffic = (await again.ask('received', undefined)) - unchangedTraffic;
    if (all < FILE_BYTES) throw new Error(`the first sync told of ${all} bytes only`);
    return [
      {
        benchmark: 'second sync, nothing changed',
        figure: `${unchanged} bytes of files`,
        reference: `first sync: ${all} bytes`,
        ratio: unchanged / all,
        target: { most: 0 },
        notes: [`all that the worker received over the link until its first outcome: ${unchangedTraffic} bytes`],
        values: { unchanged, unchangedTraffic },
      },
      {
        benchmark: 'second sync, one byte of 50 MiB changed',
        figure: `${changed} bytes of files`,
        reference: `limit ${LIMIT_BYTES} bytes`,
        ratio: Math.max(changed, changedTraffic) / LIMIT_BYTES,
        target: { most: 1 },
        notes: [`all that the worker received over the link meanwhile: ${changedTraffic} bytes`],
        values: { changed, changedTraffic },
      },
    ];
  },
};

async function changeOneByte(path: string): Promise<void> {
  const file = await open(path, 'r+');
  try {
    const at = Math.floor(FILE_BYTES / 3);
    const byte = Buffer.alloc(1);
    await file.read(byte, 0, 1, at);
    byte[0] = (byte[0] ?? 0) ^ 255;
    await file.write(byte, 0, 1, at);
  } finally {
    await file.close();
  }
}
