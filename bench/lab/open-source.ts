import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { systemClock } from '../../src/clock.js';
import type { Lease, Source } from '../../src/job/source.js';
import { silentLog } from '../../src/log.js';
import { Outbox } from '../../src/sources/outbox.js';
import type { SourceSetup } from '../../src/sources/setup.js';
import type { Lab } from './lab.js';

const noFiles = () => Promise.reject(new Error('the benchmark runs no code'));
const noTask = {
  task: { digest: '', publisher: '', manifest: noFiles, blob: () => ({ [Symbol.asyncIterator]: () => ({ next: noFiles }) }) },
  runner: 'bench',
};

/** A source as a Worker opens it, with its real outbox; only the code of its jobs is missing, since none is run. */
export async function openSource(lab: Lab, setup: SourceSetup): Promise<Source> {
  const folder = lab.makeFolder(setup.name);
  mkdirSync(join(folder, 'outbox'));
  const shared = { clock: systemClock, log: silentLog };
  const source = await setup.open({
    ...shared,
    ...{ worker: 'bench', concurrency: 16, runnerJoined: () => Promise.resolve(), runners: ['bench'], folder },
    openOutbox: () => Outbox.open({ ...shared, folder: join(folder, 'outbox'), key: randomBytes(32) }),
    localTask: async () => ({ lease: () => noTask, close: async () => {} }),
    warning: (error) => console.error(error.message),
  });
  lab.onClose(() => source.close());
  return source;
}

/** Claims and completes so many jobs, never more than `places` at a time; resolves with jobs per second, the last acknowledged. */
export async function drainSource(source: Source, jobs: number, places: number): Promise<number> {
  const startedAt = performance.now();
  const limit = AbortSignal.timeout(120_000);
  for (let done = 0; done < jobs; ) {
    const leases: Lease[] = await source.claim(Math.min(places, jobs - done), limit);
    if (leases.length === 0) throw new Error(`${jobs - done} jobs did not come`);
    // Not awaited, as in a Worker: the next claim does not wait for what becomes of this.
    for (const lease of leases) void lease.settle({ state: 'completed', output: { n: 1 } });
    done += leases.length;
  }
  await source.flush(limit);
  return jobs / ((performance.now() - startedAt) / 1_000);
}
