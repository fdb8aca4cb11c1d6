import t from 'tap';
import { DoryLab } from './lab.js';

const lab = await DoryLab.ofFile(t);
const { api } = lab;
const crawlerRedisUrl = 'redis://localhost:6399';

t.test('a run goes from the queue to the containers and back', async (t) => {
  const config = { memoryLimitMb: 256, actorTimeoutSecs: 60, somethingNew: true };
  const { run, id } = await lab.enqueue('run-1', config);
  const home = lab.worker('home');
  const crawl = await home.crawl(0);
  t.same(run.statuses, [{ status: 'running' }], 'the API hears of it before the containers start');
  t.same(crawl.crawl, {
    runId: 'run-1',
    actor: { startUrls: ['http://localhost/'] },
    image: 'an-image:1',
    containers: 1,
    memoryMb: 256,
    timeoutSecs: 60,
    api: { baseUrl: api.url, key: 'dwk_a-key-for-tests' },
    labels: { 'dory.run': 'run-1', 'dory.worker': 'home' },
  });
  crawl.complete();
  t.equal((await lab.state(id, 'completed', 'failed')).state, 'completed');
  t.same(run.statuses.at(-1), { status: 'completed', exitCode: 0, fallback: true });
  t.equal(api.callsOf(/GET .*run-1.config/).length, 2, 'and how the run is, at the end');
  t.equal((await lab.queue.getJob(id))?.returnvalue.exitCode, 0);
  t.ok(
    api.calls.every(({ key }) => key === 'dwk_a-key-for-tests'),
    'every call carries the key',
  );
  t.notMatch(home.lines.join('\n'), /dwk_a-key/, 'and no line of the log does');
});

t.test('a distributed run names its coordinator', async (t) => {
  const { run } = await lab.enqueue('run-2', { containerCount: 3 });
  const home = lab.worker('home', { settings: { crawlerRedisUrl } });
  const { crawl } = await home.crawl(0);
  t.same(run.statuses, [{ status: 'running', coordinatorWorkerId: 'home' }]);
  t.match(crawl, { containers: 3, redisUrl: crawlerRedisUrl, distributed: true });
  t.notOk('containerIdPrefix' in crawl, 'its containers are worker-1 and so on');
});

t.test('a run ends as the worst of its containers does', async (t) => {
  const home = lab.worker('home');
  for (const [at, exitCode] of [3, 137, 124, undefined].entries()) {
    const { run, id } = await lab.enqueue(`run-${at}`);
    (await home.crawl(at)).fail(exitCode);
    const { state, failedReason } = await lab.state(id, 'failed', 'completed');
    t.equal(state, 'failed', 'so that it is seen in the queue too');
    t.match(failedReason, /a container ended/);
    t.match(run, { status: 'failed', exitCode: exitCode ?? 125 }, 'without a container, what docker says then');
    t.match(run.statuses.at(-1), { error: /a container ended/, fallback: true });
  }
});

t.test('what cannot be run fails before anything starts', async (t) => {
  const home = lab.worker('home');
  const cases: [string, { readonly [field: string]: unknown }, RegExp][] = [
    ['no-redis', { containerCount: 2 }, /needs a (?:shared )?Redis/],
    ['no-image', { dockerImage: null }, /names no image/],
    ['no-config', { actorConfig: 'nonsense' }, /is invalid/],
  ];
  for (const [runId, config, reason] of cases) {
    const { run, id } = await lab.enqueue(runId, config);
    t.match(await lab.state(id, 'failed', 'completed'), { state: 'failed', failedReason: reason });
    t.match(run, { status: 'failed', exitCode: 125, statuses: { length: 1 } }, 'it never was said to run');
  }
  t.equal(home.crawls.length, 0);
});

t.test('a configuration that cannot be had fails the run soon', async (t) => {
  const home = lab.worker('home');
  for (const [at, answer] of ([500, 'drop'] as const).entries()) {
    api.fault(/GET .*config/, answer);
    const { run, id } = await lab.enqueue(`run-${at}`);
    t.equal((await lab.state(id, 'failed', 'completed')).state, 'failed');
    t.same(
      run.statuses.map(({ status }) => status),
      ['failed'],
    );
    t.equal(api.callsOf(new RegExp(`GET .*run-${at}.config`)).length, 3, 'tried again, but not for long');
    api.heal();
  }
  t.equal(home.crawls.length, 0);
  api.fault(/GET .*config/, 503, 2);
  const { id } = await lab.enqueue('run-9');
  (await home.crawl(0)).complete();
  t.equal((await lab.state(id, 'failed', 'completed')).state, 'completed', 'a hiccup is no failure');
});

t.test('a run that is over already is not run again', async (t) => {
  const home = lab.worker('home');
  const over = await lab.enqueue('run-1');
  over.run.status = 'completed';
  await lab.state(over.id, 'completed');
  for (const status of [409, 410]) {
    api.fault(/GET .*config/, status, 1);
    await lab.state((await lab.enqueue(`run-${status}`)).id, 'completed');
  }
  api.fault(/POST .*status/, 409, 1);
  await lab.state((await lab.enqueue('run-2')).id, 'completed');
  t.equal(home.crawls.length, 0);
  t.equal(api.callsOf(/POST .*status/).length, 1);
});

t.test('a run that is enqueued twice runs once', async (t) => {
  const { id } = await lab.enqueue('run-1');
  const home = lab.worker('home');
  const crawl = await home.crawl(0);
  const again = await lab.queue.add('execute', { runId: 'run-1' });
  await lab.state(again.id ?? '', 'completed');
  crawl.complete();
  await lab.state(id, 'completed');
  const late = await lab.queue.add('execute', { runId: 'run-1' });
  await lab.state(late.id ?? '', 'completed');
  t.equal(home.crawls.length, 1);
});

t.test('a run that is enqueued twice runs once, whichever Workers take its jobs', async (t) => {
  const { run, id } = await lab.enqueue('run-1');
  const home = lab.worker('home', { settings: { maxConcurrentRuns: 1 } });
  const crawl = await home.crawl(0);
  const attic = lab.worker('attic');
  const again = await lab.queue.add('execute', { runId: 'run-1' });
  await lab.state(again.id ?? '', 'completed');
  t.match((await lab.queue.getJob(again.id ?? ''))?.returnvalue, { skipped: 'running' });
  t.equal(attic.crawls.length, 0);
  t.match(attic.lines.join('\n'), /enqueued twice: another Worker runs it/);
  t.same(run.statuses, [{ status: 'running' }], 'and nothing is said of it');
  crawl.complete();
  await lab.state(id, 'completed');
  t.equal(run.status, 'completed');
  const redis = lab.redis.connect();
  t.same(await redis.keys('bull:run-execution:peerwork:run:*'), [], 'nothing is kept of a run that is over');
  redis.disconnect();
});

t.test('the second job of a run is run where that of the first has nobody any more', async (t) => {
  const redis = lab.redis.connect();
  await redis.set('bull:run-execution:peerwork:run:run-1', '4711');
  redis.disconnect();
  const { run, id } = await lab.enqueue('run-1');
  (await lab.worker('home').crawl(0)).complete();
  await lab.state(id, 'completed');
  t.equal(run.status, 'completed');
});

t.test('the final status is told only where no container has told it', async (t) => {
  const home = lab.worker('home');
  const finals = (runId: string) => api.callsOf(new RegExp(`POST .*${runId}.status`)).filter(({ body }) => body['status'] !== 'running');
  const ofCrawler = await lab.enqueue('crawler');
  const first = await home.crawl(0);
  first.report({ kind: 'progress', value: { handled: 1, failed: 0, known: 1, told: true } });
  first.complete();
  await lab.state(ofCrawler.id, 'completed');
  t.same(finals('crawler'), [], 'our crawler says that it did');
  t.equal(api.callsOf(/GET .*crawler.config/).length, 1, 'nobody need ask');

  const ofOther = await lab.enqueue('other');
  const second = await home.crawl(1);
  Object.assign(ofOther.run, { status: 'failed', exitCode: 3 });
  second.fail(3);
  await lab.state(ofOther.id, 'failed');
  t.same(finals('other'), [], 'of another image the API knows');

  const silent = await lab.enqueue('silent');
  (await home.crawl(2)).complete();
  await lab.state(silent.id, 'completed');
  t.match(finals('silent'), [{ body: { status: 'completed', exitCode: 0, fallback: true } }], 'none has told');

  api.includesStatus = false;
  const unknown = await lab.enqueue('unknown');
  (await home.crawl(3)).complete();
  await lab.state(unknown.id, 'completed');
  t.match(finals('unknown'), [{ body: { fallback: true } }], 'an API that does not say is told, and need not count it');
  t.equal(api.callsOf(/GET .*unknown.config/).length, 1);
});

t.test('of a job only the runId counts', async (t) => {
  const home = lab.worker('home', {}, { auto: true });
  api.addRun('run-1');
  const odd = await lab.queue.add('any name at all', { runId: 'run-1', more: [1, 2] });
  await lab.state(odd.id ?? '', 'completed');
  for (const data of [{}, { runId: 7 }, { runId: '' }, { runId: '../config' }, { runId: '..' }, 'text']) {
    const { id = '' } = await lab.queue.add('execute', data);
    t.match(await lab.state(id, 'failed', 'completed'), { state: 'failed', failedReason: /no usable runId/ });
  }
  t.equal(home.crawls.length, 1);
});

t.test('never more runs at once than allowed, nor than the Worker has places', async (t) => {
  const home = lab.worker('home', { settings: { maxConcurrentRuns: 3 } }, { concurrency: 2 });
  const jobs = await Promise.all(['a', 'b', 'c', 'd'].map((runId) => lab.enqueue(runId)));
  const first = await home.crawl(0);
  await home.crawl(1);
  const beats = api.callsOf(/heartbeat/).length;
  await api.until(() => api.callsOf(/heartbeat/).length > beats + 3);
  t.equal(home.crawls.length, 2, 'places');
  t.equal(await lab.queue.getWaitingCount(), 2, 'the others wait where every Worker can have them');
  first.complete();
  (await home.crawl(2)).complete();
  (await home.crawl(1)).complete();
  (await home.crawl(3)).complete();
  for (const { id } of jobs) await lab.state(id, 'completed');
  const alone = lab.worker('alone', { settings: { maxConcurrentRuns: 1 } });
  await home.worker.close();
  await Promise.all(['e', 'f'].map((runId) => lab.enqueue(runId)));
  await alone.crawl(0);
  await api.until(() => api.callsOf(/heartbeat/).length > beats + 10);
  t.equal(alone.crawls.length, 1, 'runs');
});
