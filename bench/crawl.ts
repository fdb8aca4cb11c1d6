import { load } from 'cheerio';
import { systemClock } from '../src/clock.js';
import { engineOptions } from '../src/containers/owner-options.js';
import type { CrawlOutput } from '../src/job/crawl.js';
import type { Json } from '../src/job/job.js';
import { silentLog } from '../src/log.js';
import { CrawlRunner } from '../src/runners/crawl/crawl-runner.js';
import { LabDocker } from '../test/lab/docker.js';
import type { Child, Lab } from './lab/lab.js';
import { startRedis } from './lab/redis.js';
import type { Benchmark, Row } from './lab/report.js';
import type { SiteVerbs } from './lab/site-process.js';

const SMALL = 50;
const LARGE = 1_000;
const CONCURRENCY = 10;
const ROUNDS = 5;
const LARGE_ROUNDS = 3;
const MOST_SECONDS = 2.5;
const MOST_SKEW = new Map([
  [2, 0.1],
  [3, 0.25],
]);
const HOST = 'host.docker.internal';

interface Bed {
  readonly runner: CrawlRunner;
  readonly site: Child<SiteVerbs>;
  readonly redisPort: number;
  readonly port: number;
}

/** Crawls of a local website in real containers: how long small ones take from the job to its outcome, and large ones beside a bare loop. */
export const crawl: Benchmark = {
  name: 'crawl',
  async run(lab) {
    const docker = await LabDocker.start();
    lab.onClose(() => docker.close());
    const site = lab.start<SiteVerbs>('site-process');
    const redisPort = await startRedis(lab);
    const { port } = await site.ask('open', { pages: SMALL });
    const small = await openBed(lab, docker, { site, redisPort, port });
    // Builds the image.
    await run(small, 1);
    const rows: Row[] = [];
    for (const containers of [2, 3]) rows.push(...(await smallCrawl(small, containers)));
    await small.runner.close();
    const large = await site.ask('open', { pages: LARGE });
    rows.push(await largeCrawl(await openBed(lab, docker, { site, redisPort, port: large.port })));
    return rows;
  },
};

async function openBed(lab: Lab, docker: LabDocker, bed: Omit<Bed, 'runner'>): Promise<Bed> {
  const folder = lab.makeFolder('runner');
  const owner = {
    engine: 'docker',
    environment: { ...process.env, ...docker.environment },
    network: ['internet', `${HOST}:${bed.port}`],
  } as const;
  const options = engineOptions(owner, { worker: 'bench', memoryMb: 512, folder, clock: systemClock, log: silentLog });
  const runner = await CrawlRunner.open({ ...options, folder, maxContainers: 3 });
  lab.onClose(() => runner.close());
  return { ...bed, runner };
}

async function run(
  { runner, redisPort, port }: Bed,
  containers: number,
  maxPages = SMALL,
): Promise<{ readonly output: CrawlOutput; readonly ms: number }> {
  const runId = `bench-${containers}-${Math.random().toString(36).slice(2)}`;
  const actor = { startUrls: [`http://${HOST}:${port}/page/0`], maxPages, maxConcurrency: CONCURRENCY, extract: { heading: 'h1' } };
  const data = { runId, actor, containers, ...(containers > 1 && { redisUrl: `redis://localhost:${redisPort}` }) };
  const startedAt = performance.now();
  const outcome = await runner.run(
    { id: runId, channel: 'default', data: data as Json, attempt: 1, timeoutMs: 120_000 },
    { signal: new AbortController().signal, report: () => {} },
  );
  if (outcome.state !== 'completed') throw new Error(JSON.stringify(outcome));
  return { output: outcome.output as unknown as CrawlOutput, ms: performance.now() - startedAt };
}

async function smallCrawl(bed: Bed, containers: number): Promise<Row[]> {
  const rounds: { readonly seconds: number; readonly skew: number; readonly twice: number }[] = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const before = await bed.site.ask('asked', undefined);
    const { output, ms } = await run(bed, containers);
    const { times } = await bed.site.ask('asked', undefined);
    const shares = output.containers.map(({ handled }) => handled);
    if (output.handled !== SMALL) throw new Error(`${output.handled} of ${SMALL} pages came back`);
    rounds.push({ seconds: ms / 1_000, skew: (Math.max(...shares) - Math.min(...shares)) / SMALL, twice: times - before.times - SMALL });
  }
  const seconds = Math.min(...rounds.map((round) => round.seconds));
  const skew = Math.max(...rounds.map((round) => round.skew));
  const mostSkew = MOST_SKEW.get(containers) ?? 1;
  const twice = rounds.reduce((sum, round) => sum + round.twice, 0);
  const name = `crawl of ${SMALL} pages in ${containers} containers`;
  return [
    {
      benchmark: name,
      figure: `${seconds.toFixed(2)} s, best of ${ROUNDS}`,
      reference: `${MOST_SECONDS} s`,
      ratio: seconds / MOST_SECONDS,
      target: { most: 1 },
      notes: [`all: ${rounds.map((round) => round.seconds.toFixed(2)).join(', ')} s; pages asked for twice: ${twice}`],
      values: { rounds },
    },
    {
      benchmark: `${name}: how unequal, at worst`,
      figure: `${(skew * 100).toFixed(0)} %`,
      reference: `${mostSkew * 100} %`,
      ratio: skew / mostSkew,
      target: { most: 1 },
    },
    {
      benchmark: `${name}: asked for twice`,
      figure: String(twice),
      reference: `${SMALL * ROUNDS} pages`,
      ratio: twice,
      target: { most: 0 },
    },
  ];
}

/** Pages a second between the first and the last, so that neither side pays for its start; each with as many at once. */
async function largeCrawl(bed: Bed): Promise<Row> {
  const ours: number[] = [];
  const bare: number[] = [];
  const totals: number[] = [];
  for (let round = 0; round < LARGE_ROUNDS; round += 1) {
    await bed.site.ask('open', { pages: LARGE, port: bed.port });
    totals.push((await run(bed, 1, LARGE)).ms / 1_000);
    ours.push((await bed.site.ask('asked', undefined)).spanMs);
    await bed.site.ask('open', { pages: LARGE, port: bed.port });
    await bareLoop(`http://127.0.0.1:${bed.port}`);
    bare.push((await bed.site.ask('asked', undefined)).spanMs);
  }
  const perSecond = (spans: readonly number[]) => LARGE / (Math.min(...spans) / 1_000);
  return {
    benchmark: `crawl of ${LARGE} pages in 1 container`,
    figure: `${Math.round(perSecond(ours))} pages/s, best of ${LARGE_ROUNDS}`,
    reference: `${Math.round(perSecond(bare))} pages/s of a bare fetch and cheerio loop`,
    ratio: perSecond(ours) / perSecond(bare),
    target: { least: 0.5 },
    notes: [`from the job to its outcome: ${Math.min(...totals).toFixed(1)} s`],
  };
}

async function bareLoop(origin: string): Promise<void> {
  const known = new Set([`${origin}/page/0`]);
  const queue = [...known];
  const headings: string[] = [];
  let running = 0;
  await new Promise<void>((resolve, reject) => {
    const next = () => {
      if (running === 0 && queue.length === 0) resolve();
      for (let url = queue.shift(); url !== undefined; url = running < CONCURRENCY ? queue.shift() : undefined) {
        running += 1;
        visit(url).then(() => {
          running -= 1;
          next();
        }, reject);
        if (running >= CONCURRENCY) break;
      }
    };
    const visit = async (url: string) => {
      const $ = load(await (await fetch(url)).text());
      headings.push($('h1').first().text());
      for (const element of $('a[href]').toArray()) {
        const link = new URL($(element).attr('href') ?? '', url).href;
        if (known.has(link)) continue;
        known.add(link);
        queue.push(link);
      }
    };
    next();
  });
  if (headings.length !== LARGE) throw new Error(`the bare loop read ${headings.length} pages`);
}
