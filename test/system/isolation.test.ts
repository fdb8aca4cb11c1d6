import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Master, type RunnerSetup, type SettledJob, Worker } from '../../src/index.js';
import type { Outcome } from '../../src/job/job.js';
import type { Runner } from '../../src/job/runner.js';
import { createLog } from '../../src/log.js';
import { TrackerServer } from '../../src/swarm/tracker-server.node.js';
import { requireTools } from '../lab/require.js';
import { until } from '../lab/until.js';

t.test('jobs that require a wall go to Workers that have it, and every Worker says which it has', async (t) => {
  if (!requireTools(t, { bwrap: 'bubblewrap' })) return;
  const folder = t.testdir();
  const task = join(folder, 'task');
  mkdirSync(task);
  writeFileSync(join(task, 'task.mjs'), 'export default () => true;');
  const tracker = new TrackerServer();
  await tracker.start(0, '127.0.0.1');
  t.teardown(() => tracker.close());
  const shared = { trackers: [tracker.url], ice: [], loglevel: 'error' } as const;
  const master = new Master({ ...shared, task, ledger: 'memory:' });
  t.teardown(() => master.close());
  const settled = new Map<string, SettledJob>();
  master.on('settled', (job) => settled.set(job.id, job));
  const lines: string[] = [];
  const start = (name: string, options: { readonly bubblewrap?: string; readonly runners?: readonly RunnerSetup[] }) => {
    const log = createLog({ level: 'warn', write: (line) => lines.push(`${name} ${line}`) });
    const worker = new Worker({ ...shared, token: master.token, home: join(folder, name), concurrency: 2, name, log, ...options });
    t.teardown(() => worker.close());
    return worker;
  };
  const open = start('open', { bubblewrap: join(folder, 'no-bwrap') });
  await open.ready;
  await master.push([
    { id: 'walled', data: 0, requires: ['isolation=bwrap'] },
    { id: 'anywhere', data: 0 },
    { id: 'unwalled', data: 0, requires: ['isolation=process'] },
  ]);
  await until(() => settled.size === 2);
  t.same([...settled.keys()].sort(), ['anywhere', 'unwalled'], 'the other waits for one that has it');
  const outcome: Outcome = { state: 'released', reason: '' };
  const runner: Runner = { kind: 'probe', isolation: '', tier: 'container', run: async () => outcome, close: async () => {} };
  await start('walled', { runners: [{ kind: 'probe', open: async () => runner }] }).ready;
  await until(() => settled.size === 3);
  t.match(settled.get('walled'), { state: 'completed', worker: 'walled' });
  const seen = new Map(master.workers().map((worker) => [worker.name, worker]));
  t.match(seen.get('open'), { tier: 'process', isolation: /no wall against malicious code/ });
  t.match(seen.get('walled'), { tier: 'bwrap', isolation: /^bubblewrap/ });
  const labels = (name: string) => seen.get(name)?.labels?.filter((label) => label.startsWith('isolation='));
  t.same([labels('open'), labels('walled')], [['isolation=process'], ['isolation=bwrap', 'isolation=container']]);
  const said = lines.filter((line) => line.includes('no sandbox'));
  t.equal(said.length, 1, 'one line, from the one without');
  t.match(said[0], /^open .*malicious task code can do anything this user can.*Install bubblewrap/);
  for (const label of ['isolation=bwrap', 'os=linux'])
    t.throws(() => new Worker({ ...shared, token: master.token, labels: [label] }), { code: 'label-reserved' });
});
