import { Redis } from 'ioredis';
import t from 'tap';
import { WorqrProducer, worqrSource } from '../../../../src/index.js';
import { echoTask } from '../../../lab/open-source.js';
import { LabRedis, redisTools } from '../../../lab/redis.js';
import { requireTools } from '../../../lab/require.js';
import { until } from '../../../lab/until.js';
import { type JobState, sourceContract } from '../../../sources/contract.js';

if (requireTools(t, redisTools)) {
  sourceContract(t, 'worqr', async (t) => {
    const lab = await LabRedis.start();
    const redis = new Redis(lab.url, { maxRetriesPerRequest: 0 });
    redis.on('error', () => {});
    const producer = new WorqrProducer({ url: lab.url });
    t.teardown(async () => {
      producer.close();
      redis.disconnect();
      await lab.close();
    });
    const ends = new Map<string, JobState>();
    const taken = new Set<string>();
    const listening = new Redis(lab.url);
    listening.on('error', () => {});
    t.teardown(() => listening.disconnect());
    await listening.subscribe('worqr_q_done');
    listening.on('message', (_channel, message: string) => {
      const { task, error } = JSON.parse(message) as { task: string; error?: unknown };
      ends.set(task, error === undefined ? 'completed' : 'failed');
    });
    let count = 0;
    const text = (name: string) => JSON.stringify({ name });
    return {
      setup: worqrSource({ url: lab.url, tasks: { q: echoTask(t) }, workerTimeoutMs: 3_000, sweepMs: 1_000, pollMs: 300 }),
      push: async () => {
        count += 1;
        const name = `job-${count}`;
        // Its own connection may not be re-established when Redis is back.
        await until(() =>
          producer.enqueue('q', { name }).then(
            () => true,
            () => false,
          ),
        );
        return name;
      },
      nameOf: ({ job }) => (job.data as { name: string }).name,
      state: async (name) => {
        const end = ends.get(text(name));
        if (end !== undefined) return end;
        const waiting = await redis.lrange('worqr:queues:q', 0, -1);
        if (waiting.includes(text(name))) return 'waiting';
        const held = await Promise.all((await redis.keys('worqr:processes:*')).map((key) => redis.lindex(key, 0)));
        // A listener misses outcomes while Redis is down; but a task leaves Redis only when it is finished.
        return held.includes(text(name)) ? 'held' : taken.has(name) ? 'failed' : 'completed';
      },
      kill: () => lab.stop('kill'),
      restart: () => lab.startAgain(),
      takeAway: (name) => {
        taken.add(name);
        return producer.cancel('q', { name });
      },
      misbehave: async () => {
        // Invalid content in the queue, written by something else.
        await redis.lpush('worqr:queues:q', '['.repeat(600), Buffer.from([0x5b, 0xff, 0xfe]), '{"__proto__":{"x":1}}');
        await redis.publish('worqr_q_work', '\u0000');
        return () => {};
      },
    };
  });
}
