import { startMaster } from './lab/grid.js';
import type { Child } from './lab/lab.js';
import { type Benchmark, megabytes } from './lab/report.js';
import type { WorkerVerbs } from './lab/worker-process.js';

const WORKERS = 200;
const PROCESSES = 4;
const SETTLE_MS = 10_000;
const WATCHED_MS = 60_000;
const SAMPLE_MS = 10_000;
/** What a Master may grow by in a minute without being said to grow: the noise of a heap that is collected now and then. */
const GROWTH_LIMIT_BYTES = 3e6;

/** One Master with many connected Workers and nothing to do. */
export const idleWorkers: Benchmark = {
  name: 'idle-workers',
  async run(lab) {
    const grid = await startMaster(lab);
    const { master } = grid;
    const alone = await master.ask('usage', undefined);
    const hosts: Child<WorkerVerbs>[] = [];
    for (let at = 0; at < PROCESSES; at += 1) hosts.push(lab.start<WorkerVerbs>('worker-process'));
    const hostsAlone = await Promise.all(hosts.map((host) => host.ask('usage', undefined)));
    const startedAt = performance.now();
    await Promise.all(
      hosts.map((host) => {
        const homes = Array.from({ length: WORKERS / PROCESSES }, () => lab.makeFolder('home'));
        return host.ask('open', { token: grid.token, homes, concurrency: 1 });
      }),
    );
    await master.ask('joined', { workers: WORKERS });
    const joinedMs = performance.now() - startedAt;
    await pause(SETTLE_MS);

    const before = await master.ask('usage', undefined);
    const hostsBefore = await Promise.all(hosts.map((host) => host.ask('usage', undefined)));
    const rss = [before.rssBytes];
    let after = before;
    for (let waitedMs = 0; waitedMs < WATCHED_MS; waitedMs += SAMPLE_MS) {
      await pause(SAMPLE_MS);
      after = await master.ask('usage', undefined);
      rss.push(after.rssBytes);
    }
    const hostsAfter = await Promise.all(hosts.map((host) => host.ask('usage', undefined)));
    const connected = await master.ask('workers', undefined);
    if (connected !== WORKERS) throw new Error(`${connected} of ${WORKERS} workers are still connected`);

    const grown = after.heapBytes - before.heapBytes;
    const rssGrown = after.rssBytes - before.rssBytes;
    const perWorker = (after.rssBytes - alone.rssBytes) / WORKERS;
    const cpuShare = (after.cpuMs - before.cpuMs) / (after.atMs - before.atMs) / WORKERS;
    const hostBytes = sum(hostsAfter, (each) => each.rssBytes) - sum(hostsAlone, (each) => each.rssBytes);
    const hostCpuShare = (sum(hostsAfter, (each) => each.cpuMs) - sum(hostsBefore, (each) => each.cpuMs)) / WATCHED_MS / WORKERS;
    return [
      {
        benchmark: `Master with ${WORKERS} idle workers: growth in 60 s`,
        figure: `heap ${signed(grown)}, RSS ${signed(rssGrown)}`,
        reference: `noise up to ${megabytes(GROWTH_LIMIT_BYTES)}`,
        ratio: Math.max(grown, rssGrown) / GROWTH_LIMIT_BYTES,
        target: { most: 1 },
        notes: [
          `Master: ${megabytes(alone.rssBytes)} alone, ${megabytes(after.rssBytes)} with ${WORKERS} workers: ${(perWorker / 1e3).toFixed(0)} kB and ${(cpuShare * 100).toFixed(3)} % of a core each`,
          `workers (${PROCESSES} processes of ${WORKERS / PROCESSES}): ${(hostBytes / WORKERS / 1e3).toFixed(0)} kB and ${(hostCpuShare * 100).toFixed(3)} % of a core each`,
          `Master's RSS every ${SAMPLE_MS / 1e3} s: ${rss.map((bytes) => (bytes / 1e6).toFixed(1)).join(' ')} MB`,
          `all joined ${(joinedMs / 1e3).toFixed(1)} s after their start`,
        ],
        values: { perWorkerBytes: perWorker, cpuShare, hostBytesPerWorker: hostBytes / WORKERS, hostCpuShare, joinedMs, grown, rssGrown },
      },
    ];
  },
};

function sum<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + of(item), 0);
}

function signed(bytes: number): string {
  return `${bytes < 0 ? '' : '+'}${megabytes(bytes)}`;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
