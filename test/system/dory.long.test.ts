import t, { type Test } from 'tap';
import { insideDockerLab } from '../lab/docker.js';
import { redisTools } from '../lab/redis.js';
import { DoryBed } from './dory-bed.js';
import { type ScenarioRow, skewOf, writeReport } from './dory-report.js';

const lab = await insideDockerLab(t, import.meta.url, redisTools);

/** dory-worker's thirteen demonstration scenarios, with real containers, a real Redis and a real queue. Only the API is a fake. */
if (lab !== undefined) {
  const bed = await DoryBed.start(lab);
  const { api, site } = bed;
  const rows: ScenarioRow[] = [];
  t.afterEach(() => bed.clear());
  t.teardown(async () => {
    writeReport(rows);
    await bed.close();
  });

  interface Scenario {
    readonly id: string;
    readonly what: string;
    readonly config: { readonly [field: string]: unknown };
    readonly worker?: Parameters<DoryBed['worker']>[1];
    readonly expected?: 'completed' | 'failed';
    readonly before?: () => void;
  }

  /** Runs one scenario and checks what all have in common. */
  async function show({ id, what, config, worker = {}, expected = 'completed', before }: Scenario, t: Test) {
    const runId = id.toLowerCase();
    before?.();
    const home = bed.worker('home', worker);
    await home.ready;
    const { run, id: job, enqueuedAt } = await bed.enqueue(runId, config);
    const ended = await bed.ended(job);
    const seconds = (Date.now() - enqueuedAt) / 1_000;
    const containers = await bed.madeFor(runId, enqueuedAt);
    const queue = await bed.inspect(runId);
    const { pages, times } = site.asked;
    t.equal(ended, expected, JSON.stringify(run.statuses));
    t.equal(run.status, expected);
    t.same(await bed.leftOf(runId), [], 'no container is left');
    const row = { id, what, ended, seconds, containers, handled: queue.byContainer, results: run.results.size, again: times - pages };
    rows.push(row);
    return { ...row, run, queue, pages, times, skew: skewOf(queue.byContainer) ?? 0 };
  }

  const shared = (t: Test, { queue, again, results }: Awaited<ReturnType<typeof show>>, pages: number) => {
    t.equal(queue.handled, pages, 'each page handled');
    t.equal(results, pages);
    t.equal(again, 0, 'and none asked for twice');
    t.ok(queue.ttl > 86_000 && queue.ttl <= 86_400, 'its keys go after a day');
  };

  t.test('T01: one container, nothing to extract', async (t) => {
    const { run, containers, queue } = await show(
      { id: 'T01', what: 'minimal', config: { actorConfig: bed.actor(1, { handlers: [] }) } },
      t,
    );
    t.equal(containers, 1);
    t.equal(api.callsOf(/GET .*t01.config/).length, 1);
    t.same(run.statuses[0], { status: 'running' });
    t.equal(run.exitCode, 0);
    t.same(queue.keys, [], 'no queue in Redis');
  });

  for (const [id, pages] of [
    ['T02', 10],
    ['T03', 50],
  ] as const)
    t.test(`${id}: one container, ${pages} pages`, async (t) => {
      const shown = await show({ id, what: `single, ${pages} pages`, config: { actorConfig: bed.actor(pages) } }, t);
      t.equal(shown.results, pages);
      t.equal(shown.again, 0);
      t.same(shown.queue.keys, [], 'its queue is in memory');
      t.equal(shown.run.statuses.filter(({ status }) => status === 'completed').length, 1, 'the container says so, and nobody else');
    });

  for (const [id, containers, pages] of [
    ['T04', 2, 10],
    ['T05', 3, 10],
    ['T06', 2, 50],
    ['T07', 3, 50],
  ] as const)
    t.test(`${id}: ${containers} containers, ${pages} pages`, async (t) => {
      const config = { actorConfig: bed.actor(pages, { maxConcurrency: 2 }), containerCount: containers };
      const shown = await show({ id, what: `${containers} containers, ${pages} pages`, config }, t);
      shared(t, shown, pages);
      t.equal(shown.containers, containers);
      t.equal(Object.keys(shown.queue.byContainer).length, containers, 'each had its share');
      // With two containers on ten pages, shares may differ by the few that each has in flight.
      if (pages >= 50) t.ok(shown.skew <= 0.25, 'and a fair one');
      t.comment(`skew ${shown.skew}: ${JSON.stringify(shown.queue.byContainer)}`);
      t.match(
        shown.run.statuses.map(({ status, coordinatorWorkerId }) => coordinatorWorkerId ?? status),
        ['home', 'completed'],
      );
    });

  t.test('T08: the same start address three times', async (t) => {
    const [start] = (bed.actor(10) as { startUrls: string[] }).startUrls;
    const actorConfig = bed.actor(10, { startUrls: [start, `${start}#part`, start] });
    const shown = await show({ id: 'T08', what: 'dedup', config: { actorConfig, containerCount: 2 } }, t);
    t.equal(new Set(shown.queue.requests.map(({ uniqueKey }) => uniqueKey)).size, shown.queue.requests.length, 'one request a page');
    t.equal(shown.again, 0);
    t.equal(shown.results, 10);
  });

  t.test('T09: a page that fails is tried again', async (t) => {
    const before = () => void bed.broken.add('/page/2');
    const shown = await show({ id: 'T09', what: 'retry', before, config: { actorConfig: bed.actor(10), containerCount: 2 } }, t);
    const retried = shown.queue.requests.filter(({ retryCount = 0 }) => retryCount > 0);
    t.match(retried, [{ retryCount: 1, errorMessages: [/500/] }]);
    t.equal(site.hits.get('/page/2'), 2);
    t.equal(shown.queue.handled, 10, 'and given up in the end');
  });

  t.test('T10: the configuration cannot be had', async (t) => {
    const before = () => api.fault(/GET .*config/, 500);
    const shown = await show({ id: 'T10', what: 'API answers 500', before, config: { actorConfig: bed.actor(1) }, expected: 'failed' }, t);
    t.equal(shown.containers, 0);
    t.same(
      shown.run.statuses.map(({ status }) => status),
      ['failed'],
    );
  });

  t.test('T11: an image that does not exist', async (t) => {
    const config = { actorConfig: bed.actor(1), dockerImage: 'no-such-image:1' };
    const shown = await show({ id: 'T11', what: 'unknown image', config, expected: 'failed' }, t);
    t.equal(shown.containers, 0);
    t.match(shown.run, { exitCode: 125, statuses: [{ status: 'running' }, { error: /no-such-image/ }] });
  });

  t.test('T12: distributed, but no Redis for containers', async (t) => {
    const config = { actorConfig: bed.actor(1), containerCount: 2 };
    const shown = await show({ id: 'T12', what: 'no CRAWLER_REDIS_URL', config, worker: { settings: {} }, expected: 'failed' }, t);
    t.equal(shown.containers, 0);
    t.same(
      shown.run.statuses.map(({ status }) => status),
      ['failed'],
      'before it is said to run',
    );
  });

  t.test('T13: the number of containers of the API beats that of the machine', async (t) => {
    const settings = { crawlerRedisUrl: bed.crawlerRedisUrl, containerCount: 1 };
    const config = { actorConfig: bed.actor(10), containerCount: 2 };
    const shown = await show({ id: 'T13', what: 'container count', config, worker: { settings } }, t);
    t.equal(shown.containers, 2);
  });
}
