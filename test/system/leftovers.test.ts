import { existsSync, mkdirSync, readdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Master, type SettledJob, Worker } from '../../src/index.js';
import { TrackerServer } from '../../src/swarm/tracker-server.node.js';
import { requireTools } from '../lab/require.js';
import { until } from '../lab/until.js';

const TASK = `
  import fs from 'node:fs';
  export default async (data, context) => {
    if (data !== 'leave') return fs.readdirSync('.').length;
    try {
      for (let depth = 0; depth < 20; depth += 1) {
        fs.mkdirSync('d'.repeat(200));
        process.chdir('d'.repeat(200));
      }
    } catch (error) {
      context.log(error.code);
    }
    return 'left';
  };`;

/** Creates folders deeper than any valid path, where a killed Worker would have left them. */
function plantChain(folder: string): void {
  mkdirSync(folder, { recursive: true });
  const [a, b] = [join(folder, 'a'), join(folder, 'b')];
  mkdirSync(a);
  for (let level = 0; level < 60; level += 1) {
    mkdirSync(b);
    renameSync(a, join(b, 'd'.repeat(200)));
    renameSync(b, a);
  }
}

async function check(t: Test, sandbox: 'off' | 'required'): Promise<void> {
  const folder = t.testdir({ task: { 'task.mjs': TASK } });
  const tracker = new TrackerServer();
  await tracker.start(0, '127.0.0.1');
  t.teardown(() => tracker.close());
  const shared = { trackers: [tracker.url], ice: [], loglevel: 'error' } as const;
  const master = new Master({ ...shared, task: join(folder, 'task'), ledger: 'memory:' });
  t.teardown(() => master.close());
  const settled: SettledJob[] = [];
  master.on('settled', (job) => settled.push(job));
  const home = join(folder, 'home');
  const own = join(home, 'workers', '1');
  // Names of dead processes, in every folder that a Worker cleans up.
  const dead = '1073741823.0123456789ab';
  const planted = [`scratch/jobs.${dead}`, `workplaces/${'a'.repeat(64)}.${dead}`].map((name) => join(own, name));
  planted.push(join(home, 'store', 'arriving', `x.${dead}`));
  for (const each of planted) plantChain(each);
  mkdirSync(join(own, 'outbox/1.outbox'), { recursive: true });
  writeFileSync(join(own, 'outbox/2.outbox'), 'no record at all');

  for (let life = 1; life <= 2; life += 1) {
    const worker = new Worker({ ...shared, token: master.token, home, concurrency: 1, sandbox });
    t.teardown(() => worker.close());
    await worker.ready;
    for (const data of ['leave', 'look', 'leave']) {
      const before = settled.length;
      await master.push({ data });
      await until(() => settled.length > before);
      t.match(settled.at(-1), { state: 'completed', output: data === 'leave' ? 'left' : 0 }, `life ${life}: ${data}`);
    }
    await until(() => planted.every((each) => !existsSync(each)));
    await worker.drain();
    t.same(readdirSync(join(own, 'scratch')), [], `life ${life}: nothing is left`);
  }
}

t.test('a Worker works on, stops and starts again with folder chains that no path can name: tier process', (t) => check(t, 'off'));

t.test('a Worker works on, stops and starts again with folder chains that no path can name: tier bwrap', async (t) => {
  if (!requireTools(t, { bwrap: 'bubblewrap' })) return;
  await check(t, 'required');
});
