import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Master, Worker } from '../../src/index.js';
import type { Outcome, SettledJob } from '../../src/job/job.js';
import type { RunnerSetup } from '../../src/runners/setup.js';
import { TrackerServer } from '../../src/swarm/tracker-server.node.js';
import { until } from '../lab/until.js';

t.test('what a cancelled run has made comes back', async (t) => {
  const folder = t.testdir();
  mkdirSync(join(folder, 'task'));
  writeFileSync(join(folder, 'task', 'task.json'), '{ "runner": "slow" }');
  const tracker = new TrackerServer();
  await tracker.start(0, '127.0.0.1');
  t.teardown(() => tracker.close());
  const shared = { trackers: [tracker.url], ice: [], loglevel: 'error' } as const;
  const master = new Master({ ...shared, task: join(folder, 'task'), ledger: 'memory:' });
  t.teardown(() => master.close());
  const reasons: unknown[] = [];
  let running = false;
  const error = { code: 'cancelled', message: 'it was cancelled' };
  /** A runner whose jobs end when asked to, with the output they have by then. */
  const slow: RunnerSetup = {
    kind: 'slow',
    required: true,
    open: async () => ({
      kind: 'slow',
      isolation: 'none',
      run: (_, { signal }) =>
        new Promise<Outcome>((resolve) => {
          running = true;
          signal.addEventListener('abort', () => {
            reasons.push(signal.reason);
            setTimeout(() => resolve({ state: 'failed', error, retry: false, output: { pages: 3 } }), 100);
          });
        }),
      close: async () => {},
    }),
  };
  const worker = new Worker({ ...shared, token: master.token, home: join(folder, 'home'), runners: [slow] });
  t.teardown(() => worker.close());
  await worker.ready;
  const results: SettledJob[] = [];
  master.on('settled', (job) => results.push(job));
  await master.push({ id: 'a', data: null });
  await until(() => running);
  await master.cancel('a');
  await until(() => results.some(({ output }) => output !== undefined));
  t.match(reasons, [{ code: 'cancelled' }], 'the run knows why it is to end');
  t.match(results, [
    { id: 'a', state: 'cancelled', output: undefined },
    { id: 'a', state: 'cancelled', error: { code: 'cancelled', message: 'The job was cancelled' }, output: { pages: 3 } },
  ]);
  t.match(await master.get('a'), { state: 'cancelled', settled: { output: { pages: 3 } } });
});
