import t from 'tap';
import { DoryLab } from './lab.js';

const lab = await DoryLab.ofFile(t);
const { api } = lab;
const crawlerRedisUrl = 'redis://localhost:6399';
const settings = { crawlerRedisUrl };

/** A Worker that takes no jobs of the queue and so can only be a helper. */
const helper = (id: string, more: object = {}, how: object = {}) => lab.worker(id, { settings, queue: 'another-queue', ...more }, how);

t.test('others join a distributed run with containers of their own, and the coordinator waits for them', async (t) => {
  const { run, id } = await lab.enqueue('run-1', { containerCount: 2, actorTimeoutSecs: 3_600 });
  const home = lab.worker('home', { settings });
  const crawl = await home.crawl(0);
  const [attic, cellar] = [helper('attic'), helper('cellar')];
  const [first, second] = [await attic.crawl(0), await cellar.crawl(0)];
  t.match(first.crawl, { runId: 'run-1', containers: 2, distributed: true, redisUrl: crawlerRedisUrl, containerIdPrefix: 'attic-worker-' });
  t.match(second.crawl, { containerIdPrefix: 'cellar-worker-', labels: { 'dory.worker': 'cellar' } });
  t.same([...run.participants].sort(), ['attic', 'cellar']);
  t.match(api.beats.get('attic')?.body, { activeRuns: [] }, 'the beat before');
  await api.until(() => (api.beats.get('attic')?.body['activeRuns'] as unknown[])?.length === 1);
  t.match(api.beats.get('attic')?.body['activeRuns'], [{ runId: 'run-1', role: 'helper', containers: 2 }]);

  crawl.complete();
  first.complete();
  await api.until(() => run.exits.length === 1);
  const looks = api.callsOf(/active.distributed/).length;
  await api.until(() => api.callsOf(/active.distributed/).length > looks + 5);
  t.equal(attic.crawls.length, 1, 'who has helped does not come back: it would find nothing to do');
  t.equal(run.status, 'running', 'one still helps');
  t.equal(await lab.queue.getActiveCount(), 1);
  second.complete();
  await lab.state(id, 'completed');
  t.match(run, {
    status: 'completed',
    exitCode: 0,
    exits: [
      { workerId: 'attic', exitCode: 0 },
      { workerId: 'cellar', exitCode: 0 },
    ],
  });
  const posts = api.callsOf(/POST .*status/).map(({ body }) => body['coordinatorWorkerId'] ?? body['status']);
  t.same(posts, ['home', 'completed'], 'helpers say nothing of the run');
});

t.test('what a helper’s containers end with counts for the run', async (t) => {
  const { run, id } = await lab.enqueue('run-1', { containerCount: 2 });
  const crawl = await lab.worker('home', { settings }).crawl(0);
  const helps = await helper('attic').crawl(0);
  crawl.complete();
  helps.fail(137);
  t.match(await lab.state(id, 'failed', 'completed'), { state: 'failed', failedReason: /helper attic ended with 137/ });
  t.match(run, { status: 'failed', exitCode: 137, exits: [{ exitCode: 137 }] });
});

t.test('a helper that is stopped leaves, and the run does not suffer', async (t) => {
  const { run, id } = await lab.enqueue('run-1', { containerCount: 2 });
  const crawl = await lab.worker('home', { settings }).crawl(0);
  const attic = helper('attic', {}, { drainMs: 50 });
  await attic.crawl(0);
  await attic.worker.drain();
  t.same(run.exits, [{ workerId: 'attic', exitCode: 0 }]);
  t.match(api.beats.get('attic')?.body, { status: 'stopping', activeRuns: [] });
  crawl.complete();
  t.equal((await lab.state(id, 'failed', 'completed')).state, 'completed');
});

t.test('a helper that is not heard of any more is not waited for', async (t) => {
  const { run, id } = await lab.enqueue('run-1', { containerCount: 2, actorTimeoutSecs: 3_600 });
  const crawl = await lab.worker('home', { settings }).crawl(0);
  run.participants.add('vanished');
  api.beats.set('vanished', { at: Date.now(), body: {} });
  crawl.complete();
  await lab.state(id, 'completed');
  t.ok(Date.now() - (api.beats.get('vanished')?.at ?? 0) >= 1_500, 'not before its last beat was too long ago');
});

t.test('a helper that beats but never leaves is not waited for for ever', async (t) => {
  const { run, id } = await lab.enqueue('run-1', { containerCount: 2, actorTimeoutSecs: 1 });
  const home = lab.worker('home', { settings });
  const crawl = await home.crawl(0);
  const attic = helper('attic');
  await attic.crawl(0);
  crawl.complete();
  await lab.state(id, 'completed');
  t.same([...run.participants], ['attic']);
  t.match(home.lines.join('\n'), /a run ends without waiting for its helpers .*helpers=attic/);
});

t.test('helpers of whom the API says no more than an id', async (t) => {
  api.idsOnly = true;
  const { run, id } = await lab.enqueue('run-1', { containerCount: 2 });
  const home = lab.worker('home', { settings });
  const crawl = await home.crawl(0);
  const attic = lab.worker('attic', { settings });
  const helps = await attic.crawl(0);
  // A helper of another implementation that disappeared without notice.
  run.participants.add('vanished');
  crawl.complete();
  const waits = () => home.lines.filter((line) => line.includes('waits for its helpers')).at(-1) ?? '';
  await api.until(() => /helpers="?attic vanished/.test(waits()));
  await api.until(() => /helpers=attic/.test(waits()), 'nobody waits for who gives no sign of life');
  const looks = api.callsOf(/active.distributed/).length;
  await api.until(() => api.callsOf(/active.distributed/).length > looks + 20);
  t.equal(run.status, 'running', 'one that is alive is waited for');
  helps.complete();
  await lab.state(id, 'completed');
  t.match(run, { status: 'completed', exits: [{ workerId: 'attic' }] });
  t.notMatch(home.lines.join('\n'), /without waiting/, 'nor was a limit met');
});

t.test('a run that is full or closed is left alone, and the next one joined', async (t) => {
  const full = await lab.enqueue('full', { containerCount: 2 });
  const open = await lab.enqueue('open', { containerCount: 2 });
  const home = lab.worker('home', { settings });
  await home.crawl(1);
  api.fault(/POST .*full.join/, 409);
  const attic = helper('attic', {}, { concurrency: 1 });
  t.equal((await attic.crawl(0)).crawl.runId, 'open');
  t.same([full.run.participants.size, open.run.participants.size], [0, 1]);
  t.equal(attic.crawls.length, 1);
});

t.test('a run is not joined by whoever coordinates it, helps already, or has no place', async (t) => {
  const { run } = await lab.enqueue('run-1', { containerCount: 2 });
  const home = lab.worker('home', { settings });
  await home.crawl(0);
  const attic = helper('attic');
  await attic.crawl(0);
  const busy = lab.worker('busy', { settings: { ...settings, maxConcurrentRuns: 1 }, queue: 'third-queue' });
  await busy.crawl(0);
  const other = lab.api.addRun('run-2', { containerCount: 2 });
  Object.assign(other, { status: 'running', coordinatorWorkerId: 'elsewhere' });
  await attic.crawl(1);
  await home.crawl(1);
  const beats = api.callsOf(/heartbeat/).length;
  await api.until(() => api.callsOf(/heartbeat/).length > beats + 9);
  t.equal(run.participants.size, 2);
  t.same([...other.participants].sort(), ['attic', 'home'], 'the third is at its limit');
  t.same([home.crawls.length, attic.crawls.length, busy.crawls.length], [2, 2, 1]);
});

t.test('a pinned helper has no more containers than its owner wants', async (t) => {
  await lab.enqueue('run-1', { containerCount: 4 });
  await lab.worker('home', { settings }).crawl(0);
  const own = { ...settings, containerCount: 2, dockerImage: 'my-own:1' };
  t.match((await helper('pinned', { settings: own, pinned: true }).crawl(0)).crawl, { containers: 2, image: 'my-own:1' });
  t.match((await helper('free', { settings: own }).crawl(0)).crawl, { containers: 4, image: 'an-image:1' });
  t.match(
    api.callsOf(/join/).map(({ body }) => body),
    [
      { workerId: 'pinned', containerCount: 2 },
      { workerId: 'free', containerCount: 4 },
    ],
  );
});

t.test('a helper that cannot begin leaves at once', async (t) => {
  const { run } = await lab.enqueue('run-1', { containerCount: 2 });
  await lab.worker('home', { settings }).crawl(0);
  api.fault(/GET .*config/, 500, 3);
  const attic = helper('attic');
  await api.until(() => run.exits.length === 1);
  t.same(run.exits, [{ workerId: 'attic', exitCode: 0 }]);
  await attic.crawl(0);
  t.pass('and tries again with a later beat');
});
