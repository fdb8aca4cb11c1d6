import { mkdtempSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { CrawlOutput } from '../../../src/job/crawl.js';
import { crawlBed, HOST, logLines, runCrawl } from '../../lab/crawl-bed.js';
import { insideDockerLab } from '../../lab/docker.js';
import { LabRedis, redisTools } from '../../lab/redis.js';
import { removeFolder } from '../../lab/remove-folder.js';
import { Site } from '../../lab/site.js';
import { until } from '../../lab/until.js';

const lab = await insideDockerLab(t, import.meta.url, redisTools);

if (lab !== undefined) {
  const redis = await LabRedis.start();
  t.teardown(() => redis.close());
  const redisUrl = redis.url;
  const client = redis.connect();
  t.teardown(() => client.disconnect());
  const containers = async () => (await lab.docker('ps', '-q')).split('\n').filter(Boolean);

  const everyPageOnce = (t: Test, output: CrawlOutput, pages: number) => {
    const results = output.results as { requestId: string }[];
    t.equal(new Set(results.map(({ requestId }) => requestId)).size, pages);
    t.match(output, { exitCode: 0, handled: pages, failed: 0 });
    t.equal(results.length, pages);
  };

  t.test('one container: the image is built when it is first needed, and all pages come back', async (t) => {
    const { runner, site, start } = await crawlBed(t, lab);
    const { output, outcome, reports } = await runCrawl(runner, { actor: { startUrls: [start], extract: { heading: 'h1' } } });
    t.equal(outcome.state, 'completed', JSON.stringify(outcome).slice(0, 500));
    everyPageOnce(t, output, 50);
    t.same(site.asked, { pages: 50, times: 50 });
    t.match(output.containers, [{ id: 'worker-1', exitCode: 0, handled: 50 }]);
    t.ok(logLines(reports).some((line) => line.startsWith('building peerwork-crawler:')));
    t.match(
      reports.findLast(({ kind }) => kind === 'progress'),
      { value: { handled: 50, failed: 0, known: 50 } },
    );
    t.same(await client.keys('rq:*'), [], 'its queue is its own');
    const ten = await runCrawl(runner, { actor: { startUrls: [start], maxPages: 10 } });
    everyPageOnce(t, ten.output, 10);
    t.notOk(
      logLines(ten.reports).some((line) => line.startsWith('building')),
      'once',
    );
  });

  for (const count of [2, 3])
    t.test(`${count} containers share the pages, and none is asked for twice`, async (t) => {
      const { runner, site, start } = await crawlBed(t, lab);
      const { output, outcome } = await runCrawl(runner, {
        runId: `run ${count}`,
        actor: { startUrls: [start, start] },
        containers: count,
        redisUrl,
      });
      t.equal(outcome.state, 'completed', JSON.stringify(outcome).slice(0, 500));
      everyPageOnce(t, output, 50);
      t.same(site.asked, { pages: 50, times: 50 });
      t.same(
        output.containers.map(({ id }) => id),
        ['worker-1', 'worker-2', 'worker-3'].slice(0, count),
      );
      const shares = output.containers.map(({ handled }) => handled);
      t.equal(
        shares.reduce((sum, share) => sum + share, 0),
        50,
      );
      t.ok(Math.max(...shares) - Math.min(...shares) <= 25, `fairly: ${shares}`);
      t.same(await client.keys(`rq:run ${count}*`), [], 'nothing of it is left in Redis');
    });

  t.test('a container that is killed: what it held is free at once, and the others finish', async (t) => {
    const { runner, site, start } = await crawlBed(t, lab, { site: { pages: 150, delayMs: 30 } });
    const running = runCrawl(runner, { runId: 'killed', actor: { startUrls: [start] }, containers: 2, redisUrl });
    await until(() => site.asked.pages >= 50);
    const [victim = ''] = await containers();
    await lab.docker('kill', '-s', 'KILL', victim);
    const { outcome } = await running;
    t.match(outcome, { state: 'failed', error: { code: 'crawl-failed', exitCode: 137 } });
    t.match(outcome, { output: { handled: 150, failed: 0, partial: true, reason: 'crawl-failed' } }, 'all pages are handled');
    const [handled = '', more] = await client.keys('rq:killed~*:handled');
    t.equal(await client.scard(handled), 150);
    t.equal(more, undefined);
    const ttl = await client.ttl(handled);
    t.ok(ttl > 86_000 && ttl <= 86_400, 'what the next attempt does not take goes after a day');
    t.ok(site.asked.times <= 150 + 20, 'only what was on its way is asked for again');
    t.same(await containers(), []);
  });

  t.test('Redis is killed and comes back in the middle of a crawl', async (t) => {
    const { runner, site, start } = await crawlBed(t, lab, { site: { pages: 150, delayMs: 30 } });
    const running = runCrawl(runner, { runId: 'restarted', actor: { startUrls: [start] }, containers: 2, redisUrl });
    await until(() => site.asked.pages >= 50);
    await redis.stop('kill');
    // Long enough for several reconnection attempts.
    await new Promise((resolve) => setTimeout(resolve, 700));
    await redis.startAgain();
    const { outcome, output } = await running;
    t.equal(outcome.state, 'completed', JSON.stringify(outcome).slice(0, 500));
    everyPageOnce(t, output, 150);
  });

  t.test('what would lead into the owner’s network is refused, and told as a page that failed', async (t) => {
    await lab.addMachine('192.168.77.1', [80]);
    const loopback = await Site.start({ pages: 50 });
    t.teardown(() => loopback.close());
    const { runner, site, start } = await crawlBed(t, lab, {
      site: {
        answer: ({ url }, response) => {
          if (url !== '/trap') return false;
          response.writeHead(302, { location: 'http://192.168.77.1/2' }).end();
          return true;
        },
      },
    });
    const hostile = [
      'http://192.168.77.1/1',
      loopback.url('/page/1'),
      loopback.url('/page/1', HOST),
      site.url('/trap', HOST),
      'http://[::1]:80/',
      'http://169.254.169.254/latest',
    ];
    const { outcome, output, reports } = await runCrawl(runner, { actor: { startUrls: [...hostile, start], maxRetries: 0, links: false } });
    t.equal(outcome.state, 'completed', JSON.stringify(outcome).slice(0, 500));
    t.match(output, { handled: 7, failed: 6 });
    for (const url of hostile) {
      const result = (output.results as { url: string; error?: string }[]).find((each) => each.url === url);
      t.match(result?.error, /is refused: /, url);
    }
    t.equal(loopback.asked.times, 0);
    t.ok(logLines(reports).some((line) => line.startsWith('refused 192.168.77.1:')));
  });

  t.test('containers without a Redis of their own reach the one at the other end of the job’s tunnel', async (t) => {
    const { runner, site, start } = await crawlBed(t, lab);
    const streams: Socket[] = [];
    const tunnel = {
      open: async () => {
        const stream = connect(redis.port, '127.0.0.1');
        streams.push(stream);
        return stream;
      },
    };
    const task = mkdtempSync(join(tmpdir(), 'peerwork-task-'));
    t.teardown(() => removeFolder(task));
    const settings = { runner: 'crawl', network: 'lan', actor: { startUrls: [start] }, containers: 2 };
    writeFileSync(join(task, 'task.json'), JSON.stringify(settings));
    const workplace = { digest: '', folder: task, entry: 'task.json', readable: [task] };
    const { output, outcome } = await runCrawl(runner, { runId: 'far' }, { job: { data: null }, context: { workplace, tunnel } });
    t.equal(outcome.state, 'completed', JSON.stringify(outcome).slice(0, 500));
    everyPageOnce(t, output, 50);
    t.same(site.asked, { pages: 50, times: 50 });
    t.same(await client.keys('rq:far*'), []);
    // Two of each container, for commands and for notifications, and the Worker's own.
    t.equal(streams.length, 5);
  });

  t.test('what a source has from its owner may be anywhere: its Redis and its API', async (t) => {
    const { runner, start } = await crawlBed(t, lab);
    const calls: { path: string; key: unknown; body: unknown }[] = [];
    const api = await Site.start({
      pages: 0,
      answer: (request, response) => {
        let text = '';
        request.on('data', (chunk) => {
          text += String(chunk);
        });
        request.on('end', () => {
          calls.push({ path: request.url ?? '', key: request.headers['x-api-key'], body: JSON.parse(text) });
          response.end('{}');
        });
        return true;
      },
    });
    t.teardown(() => api.close());
    const given = { api: { baseUrl: `http://localhost:${api.port}`, key: 'dwk_1' }, labels: { 'dory.run': 'single' } };
    const { output } = await runCrawl(runner, { runId: 'single', actor: { startUrls: [start] }, ...given });
    t.match(output, { exitCode: 0, handled: 50, results: undefined });
    t.equal(calls.filter(({ path }) => path === '/api/runs/single/results').flatMap(({ body }) => body as object[]).length, 50);
    t.match(calls.at(-1), { path: '/api/runs/single/status', key: 'dwk_1', body: { status: 'completed', exitCode: 0 } });
    calls.length = 0;
    const both = await runCrawl(runner, { runId: 'both', actor: { startUrls: [start] }, containers: 2, redisUrl, ...given });
    t.match(both.output, { exitCode: 0, handled: 50 });
    t.same([...new Set(calls.map(({ path }) => path))], ['/api/runs/both/results'], 'one of several never says how the crawl ended');
  });

  t.test('a crawl that takes too long is stopped, also one that is cancelled, or whose Worker stops', async (t) => {
    const { runner, start } = await crawlBed(t, lab, { site: { pages: 10_000, delayMs: 200 }, timeoutGraceMs: 500 });
    const actor = { startUrls: [start], maxPages: 10_000 };
    const slow = await runCrawl(runner, { actor, timeoutSecs: 1 });
    const had = { partial: true, reason: 'timeout', failed: 0, results: Array };
    t.match(slow.outcome, { state: 'failed', error: { code: 'timeout' }, output: had }, 'with what it has');
    const late = await runCrawl(runner, { actor }, { job: { timeoutMs: 1_500 } });
    t.match(late.outcome, { state: 'failed', error: { code: 'timeout' } });
    for (const { outcome } of [slow, late])
      t.equal(outcome.state === 'failed' && outcome.error.exitCode, 124, 'not what a container says to the signal that stops it');
    const cancel = new AbortController();
    const cancelled = runCrawl(runner, { actor }, { context: { signal: cancel.signal } });
    await until(async () => (await containers()).length > 0);
    cancel.abort();
    t.match((await cancelled).outcome, { state: 'failed', error: { code: 'cancelled' }, retry: false, output: { partial: true } });
    const released = runCrawl(runner, { actor });
    await until(async () => (await containers()).length > 0);
    await runner.close();
    t.match((await released).outcome, { state: 'released' });
    t.same(await containers(), []);
  });
}
