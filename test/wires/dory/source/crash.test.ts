import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as after } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { redisTools } from '../../../lab/redis.js';
import { requireTools } from '../../../lab/require.js';
import { DoryLab, shortTimes } from './lab.js';

if (!requireTools(t, redisTools)) process.exit();

const lab = await DoryLab.start();
const { api } = lab;
const script = fileURLToPath(new URL('worker-process.js', import.meta.url));
const processes = new Set<ChildProcess>();
const settings = { crawlerRedisUrl: 'redis://localhost:1' };

t.afterEach(async () => {
  for (const child of processes) await kill(child);
  await lab.clear();
});
t.teardown(() => lab.close());

async function kill(child: ChildProcess): Promise<void> {
  processes.delete(child);
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  await gone;
}

/** Starts a Worker in a separate process; resolves when it has begun the crawl of the run. */
async function startProcess(
  id: string,
  runId: string,
  more: { home?: string; queue?: string; lockMs?: number } = {},
): Promise<ChildProcess> {
  const { home = lab.folder(`home-${id}`), queue = 'run-execution', lockMs = shortTimes.lockMs } = more;
  const apiKey = 'dwk_a-key-for-tests';
  const timing = { ...shortTimes, lockMs };
  const options = { apiBaseUrl: api.url, apiKey, redisUrl: lab.redis.url, workerId: id, queue, timing, settings };
  const child = spawn(process.execPath, [script, JSON.stringify({ options, home })], { stdio: ['pipe', 'pipe', 'inherit'] });
  processes.add(child);
  const lines: string[] = [];
  const begun = new Promise<void>((resolve) => {
    createInterface({ input: child.stdout as NonNullable<typeof child.stdout> }).on('line', (line) => {
      lines.push(line);
      if (line === `crawl ${runId}`) resolve();
    });
  });
  await Promise.race([begun, once(child, 'exit').then(() => Promise.reject(new Error(`${id} ended: ${lines.join('\n')}`)))]);
  return child;
}

t.test('the run of a coordinator that is killed goes to another Worker when its lock has run out', async (t) => {
  const { run, id } = await lab.enqueue('run-1', { containerCount: 2 });
  const first = await startProcess('first', 'run-1');
  await kill(first);
  lab.worker('second', { settings }, { auto: true });
  await lab.state(id, 'completed');
  t.match(run, { status: 'completed', exitCode: 0, coordinatorWorkerId: 'second' });
});

t.test('a Worker that is killed and started again gives its runs back at once, however long the lock is', async (t) => {
  const { run, id } = await lab.enqueue('run-1');
  const first = await startProcess('first', 'run-1', { lockMs: 300_000 });
  await kill(first);
  const again = await startProcess('first', 'run-1', { lockMs: 300_000 });
  again.stdin?.write('complete\n');
  await lab.state(id, 'completed');
  t.same(
    run.statuses.map(({ status }) => status),
    ['running', 'running', 'completed'],
  );
});

t.test('a helper that is killed is missed after a while, and after a restart has left', async (t) => {
  const { run, id } = await lab.enqueue('run-1', { containerCount: 2 });
  const home = lab.worker('home', { settings });
  const crawl = await home.crawl(0);
  const helper = await startProcess('helper', 'run-1', { queue: 'another-queue' });
  await kill(helper);
  t.same([...run.participants], ['helper']);
  const again = await startProcess('helper', 'run-1', { queue: 'another-queue' });
  t.same(run.exits, [{ workerId: 'helper', exitCode: 0 }], 'it said that it is gone before it came back');
  await kill(again);
  crawl.complete();
  await lab.state(id, 'completed');
  t.equal(run.status, 'completed', 'nobody waits for the dead');
});

t.test('a helper that is killed and coordinators that are killed: the last one ends the run', async (t) => {
  const { run, id } = await lab.enqueue('run-1', { containerCount: 2 });
  const first = await startProcess('first', 'run-1');
  const helper = lab.worker('helper', { settings });
  const helps = await helper.crawl(0);
  await kill(first);
  const coordinates = await helper.crawl(1);
  t.equal(run.coordinatorWorkerId, 'helper', 'who helped has become the coordinator');
  t.notOk('containerIdPrefix' in coordinates.crawl);
  coordinates.complete();
  await api.until(() => helper.lines.some((line) => line.includes('waits for its helpers')));
  t.equal(run.status, 'running', 'and waits for its own containers as helper');
  helps.complete();
  await lab.state(id, 'completed');
  t.match(run, { status: 'completed', exits: [{ workerId: 'helper', exitCode: 0 }] });
});

t.test('a run that ends its Workers again and again is failed in the end', async (t) => {
  const { run, id } = await lab.enqueue('run-1');
  const timing = { ...shortTimes, lockMs: 60_000, extendMs: 60_000, stalledMs: 100 };
  const home = lab.worker('home', { timing });
  const redis = lab.redis.connect();
  for (let crawls = 0; run.status !== 'failed'; crawls += 1) {
    if (crawls > 10) throw new Error('it never is');
    await api.until(() => home.crawls.length > crawls || run.status === 'failed');
    // Simulates a killed Worker whose lock has expired.
    await redis.del(`bull:run-execution:${id}:lock`);
    await after(10);
  }
  redis.disconnect();
  t.match(await lab.state(id, 'failed'), { failedReason: /stalled more than allowable limit/ });
  t.ok(home.crawls.length >= 2 && home.crawls.length <= 5, `after ${home.crawls.length} tries`);
  t.ok(
    home.crawls.every(({ signal }) => signal.aborted),
    'and each was stopped before the next began',
  );
});
