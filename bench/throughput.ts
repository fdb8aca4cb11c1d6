import type { BullProducer } from './lab/bullmq-producer.js';
import type { BullWorker } from './lab/bullmq-worker.js';
import { startMaster, startWorker } from './lab/grid.js';
import { startRedis } from './lab/redis.js';
import { type Benchmark, median } from './lab/report.js';

const JOBS = 5_000;
const ROUNDS = 5;
const WARM_JOBS = 1_000;
/** 4 was best of 2, 4 and 8 on two cores: more processes only compete with Master and Worker. */
const WORKER_CONCURRENCY = 4;
const BULLMQ_CONCURRENCY = 50;

/**
 * Trivial jobs, from the first add to the moment that the producer knows the last outcome. Both sides are a producer and a worker in
 * processes of their own; ours adds two WebRTC ends and the processes that the jobs are isolated in, BullMQ's adds Redis.
 * They take turns, so that what else the machine does meets both.
 */
export const throughput: Benchmark = {
  name: 'throughput',
  async run(lab) {
    const port = await startRedis(lab);
    const producer = lab.start<BullProducer>('bullmq-producer');
    const bullWorker = lab.start<BullWorker>('bullmq-worker');
    await producer.ask('open', { port });
    await bullWorker.ask('open', { port, concurrency: BULLMQ_CONCURRENCY });
    const grid = await startMaster(lab);
    const worker = await startWorker(lab, grid, WORKER_CONCURRENCY);

    await producer.ask('run', { jobs: WARM_JOBS });
    await grid.master.ask('run', { jobs: WARM_JOBS });
    const ours: number[] = [];
    const theirs: number[] = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      ours.push(JOBS / ((await grid.master.ask('run', { jobs: JOBS })) / 1_000));
      theirs.push(JOBS / ((await producer.ask('run', { jobs: JOBS })) / 1_000));
    }
    return [
      {
        benchmark: 'job throughput, 5,000 trivial jobs',
        figure: `${Math.round(median(ours))} jobs/s`,
        reference: `BullMQ 6 on Redis, concurrency ${BULLMQ_CONCURRENCY}: ${Math.round(median(theirs))} jobs/s`,
        ratio: median(ours.map((rate, round) => rate / (theirs[round] ?? Number.NaN))),
        target: { least: 1 },
        notes: [
          `ours ${rates(ours)}; BullMQ ${rates(theirs)} jobs/s`,
          `worker concurrency ${WORKER_CONCURRENCY}, ${await worker.ask('isolation', undefined)}`,
        ],
        values: { ours, theirs },
      },
    ];
  },
};

function rates(values: readonly number[]): string {
  return values.map((value) => Math.round(value)).join(' ');
}
