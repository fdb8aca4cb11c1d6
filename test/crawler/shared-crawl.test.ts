import t, { type Test } from 'tap';
import { RedisQueue } from '../../src/crawl/queue/redis-queue.js';
import { LabCrawlers } from '../lab/crawler.js';
import { LabRedis, redisTools } from '../lab/redis.js';
import { requireTools } from '../lab/require.js';
import { Site, type SiteOptions } from '../lab/site.js';
import { until } from '../lab/until.js';

if (requireTools(t, redisTools)) {
  const server = await LabRedis.start();
  const redis = server.connect();
  t.teardown(async () => {
    redis.disconnect();
    await server.close();
  });

  const lab = async (t: Test, options: Partial<SiteOptions> = {}) => {
    const site = await Site.start({ pages: 50, ...options });
    const crawlers = new LabCrawlers();
    t.teardown(async () => {
      await crawlers.close();
      await site.close();
    });
    const start = (queue: string, worker: string, actor: object = {}, env = {}) =>
      crawlers.start(
        { startUrls: [site.url('/page/0')], ...actor },
        { REDIS_URL: server.url, QUEUE_NAME: queue, WORKER_ID: worker, IDLE_TIMEOUT_SECS: '2', ...env },
      );
    return { site, crawlers, start };
  };

  t.test('several crawlers share the pages, however small the crawl, and each ends as soon as all is done', async (t) => {
    const { site, crawlers, start } = await lab(t, { pages: 10 });
    const env = { PEERWORK_CRAWLERS: '3', IDLE_TIMEOUT_SECS: '600' };
    const ends = await Promise.all(['a', 'b', 'c'].map((worker) => start('small', worker, {}, env).ended));
    t.same(
      ends.map(({ exitCode }) => exitCode),
      [0, 0, 0],
    );
    t.same(site.asked, { pages: 10, times: 10 });
    const shares = ['a', 'b', 'c'].map((worker) => crawlers.results().filter((result) => result.worker === worker).length);
    t.equal(
      shares.reduce((sum, share) => sum + share, 0),
      10,
    );
    t.ok(Math.max(...shares) - Math.min(...shares) <= 2, `fairly: ${shares}`);
  });

  t.test('a page that throws leaves its trace in the queue', async (t) => {
    const { start, site } = await lab(t, { pages: 4 });
    const handlers = [{ globs: ['**/page/2'], extract: { missing: { selector: '.missing', required: true } } }];
    t.equal((await start('trace', 'a', { handlers, maxRetries: 2 }).ended).exitCode, 0);
    t.equal(site.hits.get('/page/2'), 3);
    const requests = Object.values(await redis.hgetall('rq:trace:requests')).map((json) => JSON.parse(json));
    const trace = requests.find(({ url }) => url.endsWith('/page/2'));
    t.match(trace, { retryCount: 2, handledAt: /^20/ });
    t.equal(trace.errorMessages.length, 3);
    t.match(await redis.hgetall('rq:trace:meta'), { handledRequestCount: '4', failedRequestCount: '1', pendingRequestCount: '0' });
  });

  t.test('one that gets only bad pages does not spoil a crawl that others have read', async (t) => {
    const { start, site } = await lab(t, { pages: 2 });
    await start('good', 'a', { maxPages: 2 }).ended;
    const late = await start('good', 'b', { startUrls: [site.url('/gone')], maxPages: 3 }).ended;
    t.match(late.output, /failed http/);
    t.equal(late.exitCode, 0);
  });

  t.test('with nothing to do it ends after the idle time, although another still holds a page', async (t) => {
    const { start, site } = await lab(t, { pages: 3 });
    const ghost = new RedisQueue({ redis, queue: 'ghost', client: 'ghost', lockMs: 600_000 });
    await ghost.join();
    await ghost.add([{ id: 'held', json: JSON.stringify({ id: 'held', url: site.url('/page/2'), uniqueKey: 'held' }) }]);
    await ghost.claim(1);
    const startedAt = Date.now();
    t.equal((await start('ghost', 'a', { links: false }).ended).exitCode, 0);
    t.ok(Date.now() - startedAt >= 2_000);
    t.equal(await redis.zcard('rq:ghost:ordering'), 1, 'which is still the other’s');
  });

  t.test('it renews its locks for as long as a page takes', async (t) => {
    let answer: () => void = () => {};
    const { start, site } = await lab(t, {
      pages: 1,
      answer: (_, response) => {
        answer = () => response.writeHead(200, { 'content-type': 'text/html' }).end('<p>late</p>');
        return true;
      },
    });
    const crawler = start('slow', 'a', { respectRobotsTxt: false, pageTimeoutSecs: 60 });
    await until(() => site.hits.has('/page/0'));
    const [, first] = await redis.zrange('rq:slow:ordering', 0, 0, 'WITHSCORES');
    let later = first;
    while (Number(later) < Number(first) + 1_000) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      [, later] = await redis.zrange('rq:slow:ordering', 0, 0, 'WITHSCORES');
    }
    answer();
    t.equal((await crawler.ended).exitCode, 0);
  });

  t.test('a Redis that has forgotten the queue, or is not there, ends the crawl with an error', async (t) => {
    const { start, site } = await lab(t, { pages: 5_000, delayMs: 20 });
    const crawler = start('lost', 'a', { maxPages: 5_000 });
    await until(() => site.asked.pages >= 20);
    await redis.del(...(await redis.keys('rq:lost:*')));
    const { exitCode, output } = await crawler.ended;
    t.equal(exitCode, 1);
    t.match(output, /lost the queue/);
  });
}
