import t from 'tap';
import { until } from '../../../lab/until.js';
import { DoryLab, shortTimes } from './lab.js';

const lab = await DoryLab.ofFile(t);
const { api } = lab;
const lockOf = (id: string) => `bull:run-execution:${id}:lock`;

t.test('the lock is extended for as long as a run takes', async (t) => {
  const { id } = await lab.enqueue('run-1');
  const timing = { ...shortTimes, lockMs: 600, extendMs: 100 };
  const home = lab.worker('home', { timing });
  const other = lab.worker('other', { timing });
  const startedAt = Date.now();
  await until(() => home.crawls.length + other.crawls.length > 0);
  await api.until(() => Date.now() - startedAt > 3 * timing.lockMs + timing.stalledMs);
  t.equal(home.crawls.length + other.crawls.length, 1, 'nobody took it for stalled');
  (home.crawls[0] ?? other.crawls[0])?.complete();
  await lab.state(id, 'completed');
});

t.test('a lost lock stops the containers, and nothing more is said of the run', async (t) => {
  const { run, id } = await lab.enqueue('run-1');
  const home = lab.worker('home');
  const crawl = await home.crawl(0);
  const redis = lab.redis.connect();
  await redis.set(lockOf(id), 'somebody else', 'PX', 60_000);
  redis.disconnect();
  t.match(await crawl.ended, { error: { code: 'cancelled' } });
  await api.until(() => (api.beats.get('home')?.body['activeRuns'] as unknown[] | undefined)?.length === 0);
  t.same(run.statuses, [{ status: 'running' }]);
  t.match(home.lines.join('\n'), /lock of a job is lost/);
  t.equal(await lab.queue.getJobState(id), 'active', 'with whoever has it now');
});

t.test('a Redis that is away for longer than a lock lasts loses the run', async (t) => {
  const { run } = await lab.enqueue('run-1');
  const home = lab.worker('home', { timing: { ...shortTimes, lockMs: 800, extendMs: 200 } });
  const crawl = await home.crawl(0);
  await lab.redis.stop('kill');
  t.match(await crawl.ended, { error: { code: 'cancelled' } }, 'somebody else may have it by now');
  await api.until(() => api.beats.get('home')?.body['redisOk'] === false);
  t.ok(home.warnings.includes('dory-redis-unreachable'));
  await lab.redis.startAgain();
  const again = await home.crawl(1);
  t.same(run.statuses, [{ status: 'running' }, { status: 'running' }], 'it is begun anew, by whoever comes first');
  again.complete();
  await api.until(() => run.status === 'completed');
});

t.test('a Redis that is restarted is nothing that a run would notice', async (t) => {
  const { run, id } = await lab.enqueue('run-1');
  const home = lab.worker('home', { timing: { ...shortTimes, lockMs: 20_000 } });
  const crawl = await home.crawl(0);
  await lab.redis.stop('kill');
  await lab.redis.startAgain();
  const later = await lab.enqueue('run-2');
  await home.crawl(1);
  crawl.complete();
  await lab.state(id, 'completed');
  t.match(run, { status: 'completed', statuses: { length: 2 } });
  home.crawls[1]?.complete();
  await lab.state(later.id, 'completed');
});

t.test('what a claim brings although nobody asks any more goes back to the front', async (t) => {
  const home = lab.worker('home', { settings: { maxConcurrentRuns: 1 } });
  const first = await lab.enqueue('run-1');
  const crawl = await home.crawl(0);
  await lab.enqueue('run-2');
  await lab.enqueue('run-3');
  await home.worker.drain();
  t.equal(crawl.signal.aborted, false);
  t.equal(await lab.queue.getWaitingCount(), 3);
  t.same(
    (await lab.queue.getWaiting()).map((job) => job.data.runId),
    ['run-1', 'run-2', 'run-3'],
    'as they were',
  );
  t.same(first.run.statuses, [{ status: 'running' }]);
});
