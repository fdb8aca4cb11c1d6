import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { silentLog } from '../src/log.js';
import { TrackerServer } from '../src/swarm/tracker-server.node.js';
import { Master, Worker } from '../src/wires/queue-xec/compat/index.js';
import { freePort } from '../test/lab/free-port.js';
import { foreigners, KEY, TOKEN } from '../test/lab/queue-xec/foreign.js';
import type { Lab } from './lab/lab.js';
import type { Benchmark } from './lab/report.js';

const TASK = 'module.exports = class { async run(job) { return job.id; } };';
const FILES = [{ name: 'task.js', workerPath: '/workplace/task.js', text: TASK }];
const LOOPBACK = '127.0.0.1';
const POLL_MS = 5;

/**
 * Trivial jobs from the first result to the last. The reference is a pair on the library that queue-xec stands on, with batches of five, at which the real pair is
 * fastest; ours on the same wire, and on our own.
 */
export const queueXec: Benchmark = {
  name: 'queue-xec',
  async run(lab) {
    const theirs = await foreignPair(lab, 300);
    const room = await ourPair(lab, 1_500, { token: TOKEN, transferEncryptToken: KEY });
    const native = await ourPair(lab, 10_000, {});
    const reference = `a pair on bugout, batches of 5: ${Math.round(theirs)} jobs/s`;
    return [
      {
        benchmark: "queue-xec's wire, both ours",
        figure: `${Math.round(room)} jobs/s`,
        reference,
        ratio: room / theirs,
        target: { least: 4 },
      },
      {
        benchmark: "queue-xec's classes, our wire",
        figure: `${Math.round(native)} jobs/s`,
        reference,
        ratio: native / theirs,
        target: { least: 20 },
      },
    ];
  },
};

async function foreignPair(lab: Lab, count: number): Promise<number> {
  // All that it needs of a test is to be told when it is over.
  const { start, folder } = foreigners({ teardown: (end: () => Promise<void>) => lab.onClose(end) } as unknown as Test);
  const master = await start('foreign-master.js', { files: FILES });
  master.tell({ push: Array.from({ length: count }, (_, id) => ({ id, data: '{}' })) });
  const cwd = join(folder, 'worker');
  mkdirSync(cwd);
  const worker = await start(
    'foreign-worker.js',
    { name: 'theirs', dial: `${LOOPBACK}:${master.port}`, getBatch: 'true', batchSize: '5' },
    cwd,
  );
  const rate = await rateOf(() => master.results.length, count);
  await Promise.all([worker.kill(), master.kill()]);
  return rate;
}

async function ourPair(
  lab: Lab,
  count: number,
  room: { readonly token?: string; readonly transferEncryptToken?: string },
): Promise<number> {
  const tracker = new TrackerServer();
  await tracker.start(0, LOOPBACK);
  const folder = join(lab.folder, `queue-xec-${count}`);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'task.js'), TASK);
  const port = await freePort();
  const shared = { trackers: [tracker.url], ice: [], log: silentLog };
  const alone = { lsd: false, dht: false } as const;
  let done = 0;
  const master = new Master({
    ...{ ...shared, ...room, ledger: 'memory:', queueXec: { listen: { host: LOOPBACK, port }, ...alone } },
    execAssets: { files: [{ masterPath: join(folder, 'task.js'), name: 'task.js', workerPath: '/workplace/task.js' }] },
    onResults: () => {
      done += 1;
    },
  });
  await Promise.all(Array.from({ length: count }, (_, id) => master.pushNewJob({ id, data: '{}' })));
  const worker = new Worker({
    ...{ ...shared, token: master.token, ...room, home: join(folder, 'home') },
    queueXec: { listen: { host: LOOPBACK }, peers: [{ host: LOOPBACK, port }], ...alone },
  });
  const rate = await rateOf(() => done, count);
  await worker.close();
  await master.close();
  await tracker.close();
  return rate;
}

/** A second, from the first that is there. */
async function rateOf(done: () => number, count: number): Promise<number> {
  while (done() === 0) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  const [first, startedAt] = [done(), performance.now()];
  while (done() < count) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  return (1_000 * (count - first)) / (performance.now() - startedAt);
}
