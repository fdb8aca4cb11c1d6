import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import type { CrawlOutput } from '../../src/job/crawl.js';
import { HOST } from '../lab/crawl-bed.js';
import { dockerTools, LabDocker } from '../lab/docker.js';
import { Grid, packageRoot } from '../lab/grid.js';
import { requireTools } from '../lab/require.js';
import { Site } from '../lab/site.js';
import { until } from '../lab/until.js';

// Master, Worker and site are local; only the engine is elsewhere, and the only network of its containers is the Worker's proxy.
if (requireTools(t, dockerTools, { root: true })) {
  const lab = await LabDocker.start();
  t.teardown(() => lab.close());
  t.test('a Master’s crawl task runs in a Worker’s container, and its pages come back over the link', async (t) => {
    const site = await Site.start({ pages: 30 });
    const grid = new Grid();
    t.teardown(async () => {
      await grid.close();
      await site.close();
    });
    await grid.tracker();
    cpSync(join(packageRoot, 'assets', 'tasks', 'crawl'), join(grid.folder, 'crawl'), { recursive: true });
    const settingsFile = join(grid.folder, 'crawl', 'task.json');
    // The site is on this machine: the owner allows it below, and the task has to request it.
    const settings = { ...(JSON.parse(readFileSync(settingsFile, 'utf8')) as object), network: 'lan' };
    writeFileSync(settingsFile, JSON.stringify(settings));
    const startUrls = [site.url('/page/0', HOST)];
    const jobs = [
      { id: 'good', data: { actor: { startUrls } } },
      { id: 'bad', data: { actor: { startUrls: ['gopher://x'] } }, attempts: 1 },
      { id: 'forbidden', data: { actor: { startUrls: ['http://127.0.0.1/'], maxRetries: 0 } }, attempts: 1 },
    ];
    writeFileSync(join(grid.folder, 'jobs.ndjson'), jobs.map((job) => `${JSON.stringify(job)}\n`).join(''));
    const { program, token } = await grid.master(['--task', 'crawl', '--input', 'jobs.ndjson', '--output', 'results.ndjson']);
    const args = ['--containers', 'docker', '--container-network', 'internet', '--container-network', `${HOST}:${site.port}`];
    const worker = grid.worker(token, 'anna', args, { env: lab.environment });
    const { code } = await program.ended;
    t.equal(code, 1, 'two jobs failed');
    const outcomes = new Map(grid.outcomes('results.ndjson').map((outcome) => [outcome.id, outcome]));
    const output = outcomes.get('good')?.output as CrawlOutput | undefined;
    t.match(
      output,
      { exitCode: 0, handled: 10, failed: 0, containers: [{ id: 'worker-1', handled: 10 }] },
      program.text.slice(-2_000) + worker.text.slice(-2_000),
    );
    const results = output?.results as { title: string; data: { heading: string } }[];
    t.same(results.map(({ data }) => data.heading.replace('Heading', 'Page')).sort(), results.map(({ title }) => title).sort());
    t.match(outcomes.get('bad'), { state: 'failed', error: { code: 'crawl-invalid', message: /actor\.startUrls\.0/ } });
    t.match(outcomes.get('forbidden'), { state: 'failed', error: { code: 'crawl-failed', message: /127\.0\.0\.1:80 is refused/ } });
    worker.signal('SIGTERM');
    t.equal((await worker.ended).code, 0);
    t.equal(await lab.docker('ps', '-aq'), '', 'nothing is left behind');
  });

  t.test('a Worker that is killed: the next attempt goes on with what its home holds', async (t) => {
    const site = await Site.start({ pages: 120, delayMs: 50 });
    const grid = new Grid();
    t.teardown(async () => {
      await grid.close();
      await site.close();
    });
    await grid.tracker();
    mkdirSync(join(grid.folder, 'crawl'));
    const actor = { startUrls: [site.url('/page/0', HOST)], maxConcurrency: 2 };
    writeFileSync(join(grid.folder, 'crawl', 'task.json'), JSON.stringify({ runner: 'crawl', network: 'lan', actor }));
    writeFileSync(join(grid.folder, 'jobs.ndjson'), '{"id":"long","data":null}\n');
    const { program, token } = await grid.master(['--task', 'crawl', '--input', 'jobs.ndjson', '--output', 'results.ndjson']);
    const args = ['--containers', 'docker', '--container-network', `internet,${HOST}:${site.port}`];
    const victim = grid.worker(token, 'anna', args, { env: lab.environment });
    await until(() => site.asked.pages >= 40);
    await victim.stop('SIGKILL');
    // Its container goes with it; what it fetches until then is discarded.
    await until(async () => (await lab.docker('ps', '-q')) === '');
    const before = site.asked;
    t.ok(before.pages < 120, 'it was in the middle');
    const worker = grid.worker(token, 'anna', args, { env: lab.environment });
    const { code } = await program.ended;
    t.equal(code, 0, program.text.slice(-2_000) + worker.text.slice(-2_000));
    const [outcome] = grid.outcomes('results.ndjson');
    t.match(outcome, { state: 'completed', attempts: 2 });
    const output = outcome?.output as unknown as CrawlOutput;
    t.match(output, { exitCode: 0, handled: 120, failed: 0, partial: undefined });
    t.equal(new Set((output.results as { url: string }[]).map(({ url }) => url)).size, 120);
    t.ok(site.asked.times <= 120 + 2, `only what was on its way is asked for again: ${site.asked.times}`);
    t.match(program.text, /continues where an earlier attempt stopped: \d+ pages are done/);
    await worker.stop();
    t.same(readdirSync(join(grid.folder, 'anna', '.peerwork', 'workers', '1', 'runners', 'crawl', 'kept')), [], 'nothing is kept of it');
  });
}
