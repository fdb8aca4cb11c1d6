import { createHash, randomUUID } from 'node:crypto';
import { Redis } from 'ioredis';
import { worqrSource } from '../src/wires/worqr/source/worqr-source.js';
import { drainSource, openSource } from './lab/open-source.js';
import { startRedis } from './lab/redis.js';
import { type Benchmark, median, type Row } from './lab/report.js';

/** Many short ones in turns: what else the machine does meets both. */
const ROUNDS = 15;
const TASK = JSON.stringify({ n: 1, text: 'x'.repeat(100) });

/**
 * Claim and finish on a loopback Redis. The reference sends the commands that worqr sends for them (one transaction to claim, a look at the task
 * and one to finish it, and the message), through the same client, as many tasks at a time. Ours stands the whole of a source besides: leases,
 * outbox, heartbeat.
 */
export const worqr: Benchmark = {
  name: 'worqr',
  async run(lab) {
    const port = await startRedis(lab);
    const redis = new Redis(port, '127.0.0.1');
    lab.onClose(async () => redis.disconnect());
    const source = await openSource(lab, worqrSource({ url: `redis://127.0.0.1:${port}`, tasks: { q: 'none' } }));
    const rows: Row[] = [];
    for (const [places, jobs] of [
      [1, 300],
      [16, 2_000],
    ] as const) {
      const ours: number[] = [];
      const theirs: number[] = [];
      // The first round only warms up.
      for (let round = 0; round <= ROUNDS; round += 1) {
        await fill(redis, 'q', jobs);
        const rate = await drainSource(source, jobs, places);
        await fill(redis, 'plain', jobs);
        const plain = await drainPlainly(redis, jobs, places);
        if (round > 0) ours.push(rate);
        if (round > 0) theirs.push(plain);
      }
      rows.push({
        benchmark: `worqr source: claim and finish, ${places} at a time`,
        figure: `${Math.round(median(ours))} tasks/s`,
        reference: `ioredis with worqr's commands: ${Math.round(median(theirs))} tasks/s`,
        ratio: median(ours.map((rate, round) => rate / (theirs[round] ?? Number.NaN))),
        target: { least: 1 },
        values: { ours, theirs },
      });
    }
    return rows;
  },
};

async function fill(redis: Redis, queue: string, count: number): Promise<void> {
  for (let left = count; left > 0; left -= 1_000)
    await redis.lpush(`worqr:queues:${queue}`, ...Array.from({ length: Math.min(left, 1_000) }, () => TASK));
}

async function drainPlainly(redis: Redis, tasks: number, places: number): Promise<number> {
  const startedAt = performance.now();
  let left = tasks;
  const work = async () => {
    while (left > 0) {
      left -= 1;
      const id = `plain_${randomUUID()}`;
      const [process, working] = [`worqr:processes:${id}`, 'worqr:workingProcesses:plain'];
      await redis.multi().rpoplpush('worqr:queues:plain', process).sadd(working, id).exec();
      const [task = ''] = await redis.lrange(process, 0, -1);
      const hash = createHash('md5').update(task).digest('hex');
      await redis.multi().del(`worqr:uniqueTasks:${hash}`).del(process).srem(working, id).exec();
      await redis.publish('worqr_plain_done', JSON.stringify({ workerId: 'plain', task, result: { n: 1 } }));
    }
  };
  await Promise.all(Array.from({ length: places }, work));
  return tasks / ((performance.now() - startedAt) / 1_000);
}
