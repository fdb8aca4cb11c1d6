import { Queue } from 'bullmq';
import t from 'tap';
import { dorySource } from '../../../../src/wires/dory/source/setup.js';
import { LabRedis, redisTools } from '../../../lab/redis.js';
import { requireTools } from '../../../lab/require.js';
import { sourceContract } from '../../../sources/contract.js';
import { FakeApi } from './fake-api.js';
import { shortTimes } from './lab.js';

if (requireTools(t, redisTools)) {
  sourceContract(t, 'dory', async (t) => {
    const redis = await LabRedis.start();
    let api = await FakeApi.start();
    const { port } = api;
    const queue = new Queue('run-execution', { connection: { url: redis.url } });
    queue.on('error', () => {});
    t.teardown(async () => {
      await queue.close();
      await api.close();
      await redis.close();
    });
    // A lock that does not expire even on a busy machine.
    const timing = { ...shortTimes, lockMs: 60_000 };
    let count = 0;
    return {
      setup: dorySource({ apiBaseUrl: api.url, apiKey: 'dwk_a-key-for-tests', redisUrl: redis.url, workerId: 'w', timing }),
      runners: ['crawl'],
      output: { state: 'completed', output: { exitCode: 0, handled: 1, failed: 0, containers: [] } },
      push: async () => {
        count += 1;
        api.addRun(`run-${count}`);
        await queue.add('execute', { runId: `run-${count}` });
        return `run-${count}`;
      },
      state: (name) => {
        const status = api.runs.get(name)?.status;
        return status === 'completed' || status === 'failed' ? status : status === 'queued' ? 'waiting' : 'held';
      },
      // Stops the API only: if the queue's Redis were down as well, the lock would expire, which has tests of its own.
      kill: () => api.close(),
      restart: async () => {
        const { runs } = api;
        api = await FakeApi.start('127.0.0.1', port);
        for (const [id, run] of runs) api.runs.set(id, run);
      },
      takeAway: async (name) => {
        api.cancelled = [name];
      },
      misbehave: async () => {
        api.fault(/heartbeat|distributed/, 500);
        for (const data of [{}, { runId: 7 }, { runId: '../../etc' }, 'no object', null]) await queue.add('execute', data);
        return () => api.heal();
      },
    };
  });
}
