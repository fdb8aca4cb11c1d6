// A Master and a Worker in one process, for the examples: on one machine, over a real link, leaving nothing behind.
// PEERWORK_TRACKERS names the trackers (such as one started with `peerwork tracker`); by default, the public ones are used.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Master, Worker } from 'peerwork';

const trackers = process.env.PEERWORK_TRACKERS?.split(/[\s,]+/);
const network = trackers === undefined ? {} : { trackers, ice: [] };

/** Runs `use(master, worker)` and closes both. `task` is the URL of a folder next to the example; `options` are passed to the Master. */
export async function withGrid(task, use, options = {}) {
  const home = await mkdtemp(join(tmpdir(), 'peerwork-example-'));
  const master = new Master({ task: fileURLToPath(task), ledger: 'memory:', ...network, ...options });
  const worker = new Worker({ token: master.token, home, concurrency: 2, ...network });
  try {
    await worker.ready;
    await use(master, worker);
  } finally {
    await worker.close();
    await master.close();
    await rm(home, { recursive: true, force: true });
  }
}

/** Resolves with the first `count` jobs that settle. */
export async function settled(master, count) {
  const jobs = [];
  for await (const { job } of master.results()) {
    jobs.push(job);
    if (jobs.length === count) break;
  }
  return jobs;
}
