import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Master, type SettledJob } from '../../../../src/index.js';
import { TrackerServer } from '../../../../src/swarm/tracker-server.node.js';
import { redisTools } from '../../../lab/redis.js';
import { requireTools } from '../../../lab/require.js';
import { DoryLab } from './lab.js';

if (!requireTools(t, redisTools)) process.exit();

t.test('one Worker serves its Master and a dory-api, within one limit', async (t) => {
  const lab = await DoryLab.start();
  t.teardown(() => lab.close());
  const task = join(t.testdir(), 'task');
  mkdirSync(task);
  writeFileSync(
    join(task, 'task.mjs'),
    "import { setTimeout } from 'node:timers/promises';\nexport default async (ms) => { await setTimeout(ms); return { ms, env: Object.keys(process.env) }; };",
  );
  const tracker = new TrackerServer();
  await tracker.start(0, '127.0.0.1');
  t.teardown(() => tracker.close());
  const master = new Master({ task, ledger: 'memory:', trackers: [tracker.url], ice: [], loglevel: 'error' });
  t.teardown(() => master.close());
  const settled: SettledJob[] = [];
  master.on('settled', (job) => settled.push(job));

  const both = { token: master.token, trackers: [tracker.url], ice: [] };
  const home = lab.worker('home', { settings: { maxConcurrentRuns: 5 } }, { concurrency: 2, master: both });
  await home.worker.ready;
  t.same(home.worker.status().sources, ['master', 'dory']);
  const runs = await Promise.all(['run-1', 'run-2', 'run-3'].map((runId) => lab.enqueue(runId)));
  await master.push(Array.from({ length: 6 }, (_, n) => ({ id: `job-${n}`, data: 300 })));
  const first = await home.crawl(0);
  let most = 0;
  await lab.api.until(() => {
    most = Math.max(most, home.worker.status().running);
    return settled.length >= 3;
  });
  t.ok(home.crawls.length <= 2, 'the Master has its share');
  t.ok(most <= 2, `${most} at once`);
  for (let n = 0; n < 3; n += 1) (await home.crawl(n)).complete();
  for (const { id } of runs) await lab.state(id, 'completed');
  await lab.api.until(() => settled.length === 6);
  t.equal(first.signal.aborted, false);
  t.ok(
    settled.every(({ state, output }) => state === 'completed' && !JSON.stringify(output).includes('API_KEY')),
    'and nothing of the one is with the other',
  );
});
