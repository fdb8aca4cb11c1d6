import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
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
const LARGE = 10_000;
/** Of a site that answers after SLOW_MS. */
const SLOW = 3_000;
const SLOW_MS = 50;
const CONCURRENCY = 10;
const ROUNDS = 5;
const LARGE_ROUNDS = 2;
const LIMIT_MS = 600_000;
const MEMORY_MB = 512;
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

/**
 * Crawls of a local website in real containers, from the job to its outcome: how long small ones take, and large ones beside Crawlee's CheerioCrawler as it comes, which has
 * a process of its own instead of a container and no proxy on its way.
 */
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
    const bed = await openBed(lab, docker, { site, redisPort, port: large.port });
    rows.push(...(await largeCrawl(bed, lab)), await slowCrawl(bed));
    return rows;
  },
};

const MANY = 100_000;
const SAMPLE_MS = 2_000;

/** A crawl of very many pages in one container: what it takes of its memory in the end, beside what it took when a quarter was done. */
export const crawlMemory: Benchmark = {
  name: 'crawl-memory',
  async run(lab) {
    const docker = await LabDocker.start();
    lab.onClose(() => docker.close());
    const site = lab.start<SiteVerbs>('site-process');
    const { port } = await site.ask('open', { pages: MANY });
    const bed = await openBed(lab, docker, { site, redisPort: 0, port });
    const samples: { readonly handled: number; readonly mib: number }[] = [];
    let handled = 0;
    const measure = async () => {
      const id = (await docker.docker('ps', '--quiet')).trim();
      if (id === '') return;
      // Docker wants the process ids to be told too.
      const [, ...processes] = (await docker.docker('top', id, '-eo', 'pid,rss')).trim().split('\n');
      const mib = processes.reduce((sum, line) => sum + Number(line.trim().split(/\s+/)[1]), 0) / 1_024;
      if (mib > 0) samples.push({ handled, mib });
    };
    const sampling = setInterval(() => void measure().catch(() => {}), SAMPLE_MS);
    const startedAt = performance.now();
    // Results go to an API: as many would not fit into an outcome.
    const api = { baseUrl: `http://${HOST}:${port}`, key: '' };
    const actor = { startUrls: [`http://${HOST}:${port}/page/0`], maxPages: MANY, maxConcurrency: CONCURRENCY, extract: { heading: 'h1' } };
    const outcome = await bed.runner.run(
      { id: 'bench', channel: 'default', data: { runId: 'bench', actor, containers: 1, api }, attempt: 1, timeoutMs: LIMIT_MS },
      {
        signal: new AbortController().signal,
        report: (report) => {
          if (report.kind === 'progress') handled = (report.value as { readonly handled?: number }).handled ?? handled;
        },
      },
    );
    clearInterval(sampling);
    const seconds = (performance.now() - startedAt) / 1_000;
    const output = outcome.state === 'completed' ? (outcome.output as unknown as CrawlOutput) : undefined;
    if (output?.handled !== MANY || output.failed > 0) throw new Error(JSON.stringify(outcome).slice(0, 2_000));
    if (samples.length === 0) throw new Error('the memory of the container could not be looked at');
    const early = Math.max(...samples.filter((sample) => sample.handled < MANY / 4).map(({ mib }) => mib));
    const most = Math.max(...samples.map(({ mib }) => mib));
    return [
      {
        benchmark: `crawl of ${MANY} pages in a container of ${MEMORY_MB} MiB: its memory at most`,
        figure: `${most.toFixed(0)} MiB, all pages in ${seconds.toFixed(0)} s`,
        reference: `limit ${MEMORY_MB} MiB`,
        ratio: most / MEMORY_MB,
        target: { most: 0.5 },
        notes: [`${early.toFixed(0)} MiB at most before a quarter of the pages was done`],
        values: { samples },
      },
    ];
  },
};

async function openBed(lab: Lab, docker: LabDocker, bed: Omit<Bed, 'runner'>): Promise<Bed> {
  const folder = lab.makeFolder('runner');
  const owner = {
    engine: 'docker',
    environment: { ...process.env, ...docker.environment },
    network: ['internet', `${HOST}:${bed.port}`],
  } as const;
  const options = engineOptions(owner, { worker: 'bench', memoryMb: MEMORY_MB, folder, clock: systemClock, log: silentLog });
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
    { id: runId, channel: 'default', data: data as Json, attempt: 1, timeoutMs: LIMIT_MS },
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

/** In turns, the best of each: all share two cores with the website, Redis and the Worker. */
async function largeCrawl(bed: Bed, lab: Lab): Promise<Row[]> {
  const took = { one: [] as number[], three: [] as number[], stock: [] as number[] };
  for (let round = 0; round < LARGE_ROUNDS; round += 1) {
    took.one.push(await crawlAll(bed, 1, LARGE));
    took.three.push(await crawlAll(bed, 3, LARGE));
    took.stock.push(await stockCrawl(bed, lab));
  }
  const [one, three, stock] = [Math.min(...took.one), Math.min(...took.three), Math.min(...took.stock)];
  const reference = `Crawlee's CheerioCrawler: ${stock.toFixed(1)} s`;
  const notes = [
    `all rounds in seconds: ${JSON.stringify(took, (_, value) => (typeof value === 'number' ? Number(value.toFixed(1)) : value))}`,
  ];
  const row = (containers: string, seconds: number, most: number): Row => ({
    benchmark: `crawl of ${LARGE} pages in ${containers}`,
    figure: `${seconds.toFixed(1)} s, ${Math.round(LARGE / seconds)} pages/s, best of ${LARGE_ROUNDS}`,
    reference,
    ratio: seconds / stock,
    target: { most },
    notes,
  });
  return [row('1 container', one, 1), row('3 containers', three, 0.4)];
}

/** Where the time goes into waiting for the website, more containers must never be slower. */
async function slowCrawl(bed: Bed): Promise<Row> {
  const one: number[] = [];
  const three: number[] = [];
  for (let round = 0; round < LARGE_ROUNDS; round += 1) {
    one.push(await crawlAll(bed, 1, SLOW, SLOW_MS));
    three.push(await crawlAll(bed, 3, SLOW, SLOW_MS));
  }
  return {
    benchmark: `crawl of ${SLOW} pages that take ${SLOW_MS} ms each, in 3 containers`,
    figure: `${Math.min(...three).toFixed(1)} s, best of ${LARGE_ROUNDS}`,
    reference: `1 container: ${Math.min(...one).toFixed(1)} s`,
    ratio: Math.min(...three) / Math.min(...one),
    target: { most: 1 },
  };
}

/** Seconds. */
async function crawlAll(bed: Bed, containers: number, pages: number, delayMs = 0): Promise<number> {
  await bed.site.ask('open', { pages, port: bed.port, delayMs });
  const { output, ms } = await run(bed, containers, pages);
  const { times } = await bed.site.ask('asked', undefined);
  if (output.handled !== pages || times !== pages)
    throw new Error(`${output.handled} of ${pages} pages came back, asked for ${times} times`);
  return ms / 1_000;
}

/** Seconds, from the start of its process to its end. */
async function stockCrawl(bed: Bed, lab: Lab): Promise<number> {
  await bed.site.ask('open', { pages: LARGE, port: bed.port });
  const script = fileURLToPath(new URL('lab/stock-crawl.js', import.meta.url));
  const memory = `--max-old-space-size=${Math.floor(MEMORY_MB * 0.7)}`;
  const args = [memory, script, `http://127.0.0.1:${bed.port}/page/0`, String(LARGE), String(CONCURRENCY)];
  const startedAt = performance.now();
  const child = lab.spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'inherit'] });
  const [code] = await once(child, 'exit');
  if (code !== 0) throw new Error(`Crawlee's crawl ended with ${code}`);
  const { pages } = await bed.site.ask('asked', undefined);
  if (pages !== LARGE) throw new Error(`Crawlee asked for ${pages} of ${LARGE} pages`);
  return (performance.now() - startedAt) / 1_000;
}
