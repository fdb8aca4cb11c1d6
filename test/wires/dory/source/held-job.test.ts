import { type Job, Queue, Worker } from 'bullmq';
import t from 'tap';
import { systemClock } from '../../../../src/clock.js';
import { createLog } from '../../../../src/log.js';
import { HeldJob } from '../../../../src/wires/dory/source/held-job.js';
import { LabRedis, redisTools } from '../../../lab/redis.js';
import { requireTools } from '../../../lab/require.js';

if (!requireTools(t, redisTools)) process.exit();

const redis = await LabRedis.start();
const connection = { url: redis.url };
const queue = new Queue('held', { connection });
const worker = new Worker('held', null, { connection, autorun: false });
t.teardown(async () => {
  await worker.close();
  await queue.close();
  await redis.close();
});

t.test('a job that is settled while its lock is being extended is not lost', async (t) => {
  const lines: string[] = [];
  const log = createLog({ level: 'debug', write: (line) => lines.push(line) });
  const ends = [
    (held: HeldJob) => held.complete({}),
    (held: HeldJob) => held.fail('it went wrong'),
    (held: HeldJob) => held.giveBack().then((back) => back && queue.drain().then(() => true)),
  ];
  let settled = 0;
  let lost = 0;
  for (let round = 0; round < 300; round += 1) {
    await queue.add('one', {});
    const token = String(round);
    let job: Job | undefined;
    // BullMQ may wake up for a job that is gone already.
    while (job === undefined) job = await worker.getNextJob(token);
    // Extends continuously, so that some settlements overtake an extension.
    const held = new HeldJob({ job, token, timing: { lockMs: 30_000, extendMs: 0 }, clock: systemClock, log });
    await new Promise((resolve) => setTimeout(resolve, round % 4));
    if (await ends[round % ends.length]?.(held)) settled += 1;
    await new Promise((resolve) => setImmediate(resolve));
    if (held.lost.aborted) lost += 1;
  }
  t.same({ settled, lost, lines }, { settled: 300, lost: 0, lines: [] });
});
