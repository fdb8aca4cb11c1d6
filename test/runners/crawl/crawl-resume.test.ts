import { mkdirSync, mkdtempSync, readdirSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { PeerworkError } from '../../../src/errors.js';
import type { CrawlJob, CrawlOutput } from '../../../src/job/crawl.js';
import type { Outcome } from '../../../src/job/job.js';
import { crawlBed, logLines, runCrawl } from '../../lab/crawl-bed.js';
import { insideDockerLab } from '../../lab/docker.js';
import { LabRedis, redisTools } from '../../lab/redis.js';
import { removeFolder } from '../../lab/remove-folder.js';
import { until } from '../../lab/until.js';

const lab = await insideDockerLab(t, import.meta.url, redisTools);

if (lab !== undefined) {
  const redis = await LabRedis.start();
  t.teardown(() => redis.close());
  const client = redis.connect();
  t.teardown(() => client.disconnect());
  const folderOf = (t: Test) => {
    const folder = mkdtempSync(join(tmpdir(), 'pw-crawl-'));
    t.teardown(() => removeFolder(folder));
    return folder;
  };
  const kept = (folder: string) => readdirSync(join(folder, 'kept'));
  const outputOf = (outcome: Outcome) => (outcome as unknown as { output: CrawlOutput }).output;
  const killOne = async () => {
    const [victim = ''] = (await lab.docker('ps', '-q')).split('\n').filter(Boolean);
    await lab.docker('kill', '-s', 'KILL', victim);
  };
  const slow = { pages: 60, delayMs: 40 };

  t.test('a container that was killed: what it had is given, and the next attempt goes on there', async (t) => {
    const folder = folderOf(t);
    const { runner, site, start } = await crawlBed(t, lab, { site: slow, folder });
    const crawl = { runId: 'again', actor: { startUrls: [start], maxConcurrency: 2 } };
    const first = runCrawl(runner, crawl);
    await until(() => site.asked.pages >= 20);
    await killOne();
    const { outcome } = await first;
    t.match(outcome, { state: 'failed', error: { code: 'crawl-failed', exitCode: 137 }, retry: true });
    const had = outputOf(outcome);
    t.match(had, { exitCode: 137, partial: true, reason: 'crawl-failed', failed: 0 });
    t.ok(had.handled >= 15 && had.handled === had.results?.length, `${had.handled} pages`);
    t.equal(kept(folder).length, 1);
    const again = await runCrawl(runner, crawl, { job: { attempt: 2 } });
    t.match(again.output, { exitCode: 0, handled: 60, failed: 0 }, JSON.stringify(again.outcome).slice(0, 500));
    t.equal(again.output.partial, undefined);
    t.equal(new Set((again.output.results as { url: string }[]).map(({ url }) => url)).size, 60);
    t.ok(site.asked.pages === 60 && site.asked.times <= 60 + 2, 'no page that was done is asked for again');
    t.ok(logLines(again.reports).some((line) => line === `continues where an earlier attempt stopped: ${had.handled} pages are done`));
    t.match(
      again.reports.findLast(({ kind }) => kind === 'progress'),
      { value: { handled: 60, failed: 0, known: 60 } },
    );
    t.same(kept(folder), [], 'nothing is kept of what is done');
  });

  t.test('a Worker that stops, and one that finds an older one’s work; a cancel removes it, a lost lease does not', async (t) => {
    const folder = folderOf(t);
    const site = { pages: 500, delayMs: 40 };
    const bed = await crawlBed(t, lab, { site, folder });
    const crawl: Partial<CrawlJob> = { runId: 'stops', actor: { startUrls: [bed.start] } };
    const released = runCrawl(bed.runner, crawl);
    await until(() => bed.site.asked.pages >= 20);
    await bed.runner.close();
    t.match((await released).outcome, { state: 'released' });
    t.equal(kept(folder).length, 1);
    // A restart of the same Worker, whose owner allows the same site.
    const { runner } = await crawlBed(t, lab, { folder, ceilings: bed.ceilings });
    const runAndAbort = async (reason?: unknown) => {
      const ending = new AbortController();
      const before = bed.site.asked.pages;
      const running = runCrawl(runner, crawl, { context: { signal: ending.signal } });
      await until(() => bed.site.asked.pages >= before + 10);
      ending.abort(reason);
      return running;
    };
    const lost = await runAndAbort();
    t.match(lost.outcome, { state: 'failed', error: { code: 'cancelled' }, output: { partial: true } });
    t.ok(logLines(lost.reports).some((line) => line.startsWith('continues where')));
    t.equal(kept(folder).length, 1, 'the job goes on somewhere, perhaps here');
    const cancelled = await runAndAbort(new PeerworkError('cancelled'));
    t.ok(outputOf(cancelled.outcome).handled >= 20, 'what there was by then goes along');
    t.same(kept(folder), []);
    t.ok(bed.site.asked.times - bed.site.asked.pages <= 30);
  });

  t.test('with a Redis it goes on with any Worker, and nothing is left there in the end', async (t) => {
    const [here, there] = [folderOf(t), folderOf(t)];
    const bed = await crawlBed(t, lab, { site: { pages: 150, delayMs: 40 }, folder: here });
    const crawl = { runId: 'any', actor: { startUrls: [bed.start] }, containers: 2, redisUrl: redis.url };
    const first = runCrawl(bed.runner, crawl);
    await until(() => bed.site.asked.pages >= 50);
    await bed.runner.close();
    t.match((await first).outcome, { state: 'released' });
    t.not((await client.keys('rq:any~*')).length, 0);
    const { runner } = await crawlBed(t, lab, { folder: there, ceilings: bed.ceilings });
    const { output, outcome } = await runCrawl(runner, crawl, { job: { attempt: 2 } });
    t.match(output, { exitCode: 0, handled: 150, failed: 0 }, JSON.stringify(outcome).slice(0, 500));
    t.equal(new Set((output.results as { url: string }[]).map(({ url }) => url)).size, 150);
    t.ok(bed.site.asked.times <= 150 + 20, 'only what was on its way is asked for again');
    t.same(await client.keys('rq:any~*'), []);
  });

  t.test('beyond what one outcome holds it completes with what there is', async (t) => {
    const folder = folderOf(t);
    const body = `<title>Long</title><p>${'a long text '.repeat(20_000)}</p>`;
    const { runner, start } = await crawlBed(t, lab, {
      folder,
      site: {
        pages: 1_000,
        answer: ({ url }, response) => {
          if (!/page/.test(url ?? '')) return false;
          const page = Number(url?.split('/').at(-1));
          const links = [1, 2].map((add) => `<a href="/page/${page * 2 + add}">next</a>`);
          response.setHeader('content-type', 'text/html');
          response.end(body + links.join(''));
          return true;
        },
      },
    });
    const { output, outcome } = await runCrawl(runner, { actor: { startUrls: [start], extract: { text: 'p' } } });
    t.equal(outcome.state, 'completed', JSON.stringify(outcome).slice(0, 500));
    t.match(output, { exitCode: 0, partial: true, reason: 'results', failed: 0 });
    const bytes = Buffer.byteLength(JSON.stringify(output));
    t.ok(bytes > 7_000_000 && bytes <= 8 * 1024 * 1024, `${bytes} bytes`);
    t.equal(output.handled, (output.results?.length ?? 0) + (output.leftOut ?? 0));
    t.same(kept(folder), []);
    const few = await runCrawl(runner, { actor: { startUrls: [start], maxPages: 3 } });
    t.match(few.output, { handled: 3, partial: true, reason: 'pages' }, 'more pages were there than it may have');
  });

  t.test('a crawl that read nothing begins anew, and what is too old is not kept', async (t) => {
    const folder = folderOf(t);
    let down = true;
    const { runner, start } = await crawlBed(t, lab, {
      folder,
      site: { pages: 3, answer: (_, response) => down && response.writeHead(404).end() !== undefined },
    });
    const crawl = { runId: 'down', actor: { startUrls: [start] } };
    t.match((await runCrawl(runner, crawl)).outcome, {
      state: 'failed',
      error: { code: 'crawl-failed' },
      output: { handled: 1, failed: 1 },
    });
    down = false;
    const old = join(folder, 'kept', 'a'.repeat(64));
    mkdirSync(join(old, 'results'), { recursive: true });
    writeFileSync(join(old, 'results', 'a.ndjson'), '');
    const longAgo = Date.now() / 1_000 - 2 * 86_400;
    utimesSync(old, longAgo, longAgo);
    t.match((await runCrawl(runner, crawl)).output, { handled: 3, failed: 0 });
    await until(() => kept(folder).length === 0);
  });

  t.test('more memory than the owner allows is refused with both numbers', async (t) => {
    const { runner, start } = await crawlBed(t, lab);
    const { outcome } = await runCrawl(runner, { actor: { startUrls: [start] }, memoryMb: 4096 });
    t.match(outcome, {
      state: 'failed',
      error: { code: 'container-limits', message: /4096 MiB of memory for each container, allowed are 512/ },
      retry: true,
    });
  });
}
