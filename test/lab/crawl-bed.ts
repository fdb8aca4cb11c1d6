import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import { systemClock } from '../../src/clock.js';
import type { CrawlJob, CrawlOutput } from '../../src/job/crawl.js';
import type { Job, Json, Outcome, Progress } from '../../src/job/job.js';
import type { RunContext } from '../../src/job/runner.js';
import { silentLog } from '../../src/log.js';
import { CrawlRunner, type CrawlRunnerOptions } from '../../src/runners/crawl/crawl-runner.js';
import type { LabDocker } from './docker.js';
import { removeFolder } from './remove-folder.js';
import { Site, type SiteOptions } from './site.js';

/** Name by which containers reach this machine. */
export const HOST = 'host.docker.internal';

export interface CrawlBed {
  readonly runner: CrawlRunner;
  /** A site that crawls may reach. */
  readonly site: Site;
  /** The owner's limits, for another runner that may reach the same site. */
  readonly ceilings: CrawlRunnerOptions['ceilings'];
  /** `http://host.docker.internal:…/page/0`. */
  readonly start: string;
}

/** A crawl runner in a docker lab, and a website on this machine that its owner allows crawls to reach. */
export async function crawlBed(
  t: Test,
  lab: LabDocker,
  { site: siteOptions = {}, ...options }: Partial<CrawlRunnerOptions> & { readonly site?: Partial<SiteOptions> } = {},
): Promise<CrawlBed> {
  const site = await Site.start({ pages: 50, ...siteOptions });
  const folder = options.folder ?? (await mkdtemp(join(tmpdir(), 'pw-crawl-')));
  const network = { internet: true, hosts: [`${HOST}:${site.port}`] };
  const ceilings = { memoryMb: 512, defaultMemoryMb: 512, cpus: 2, pids: 128, diskMb: 64, network, unfiltered: false, ...options.ceilings };
  const runner = await CrawlRunner.open({
    engine: 'docker',
    worker: 'tester',
    folder,
    maxContainers: 4,
    pull: 'missing',
    pullTimeoutMs: 60_000,
    imageQuotaMb: 4_096,
    clock: systemClock,
    log: silentLog,
    environment: { ...process.env, ...lab.environment },
    ...options,
    ceilings,
  });
  t.teardown(async () => {
    await runner.close();
    await site.close();
    await removeFolder(folder);
  });
  return { runner, site, ceilings, start: site.url('/page/0', HOST) };
}

export interface Ran {
  readonly outcome: Outcome;
  /** Output of a completed crawl; throws otherwise. */
  readonly output: CrawlOutput;
  readonly reports: readonly Progress[];
}

/** Runs a crawl as leased by a source. */
export async function runCrawl(
  runner: CrawlRunner,
  data: Partial<CrawlJob>,
  { job = {}, context = {} }: { readonly job?: Partial<Job>; readonly context?: Partial<RunContext> } = {},
): Promise<Ran> {
  const reports: Progress[] = [];
  const crawl = { runId: `run-${Math.random().toString(36).slice(2, 10)}`, containers: 1, ...data };
  const outcome = await runner.run(
    { id: crawl.runId, channel: 'default', data: crawl as unknown as Json, attempt: 1, timeoutMs: 0, ...job },
    { signal: new AbortController().signal, report: (progress) => reports.push(progress), ...context },
  );
  const output = outcome.state === 'completed' ? (outcome.output as unknown as CrawlOutput) : (undefined as never);
  return { outcome, output, reports };
}

export const logLines = (reports: readonly Progress[]) => reports.flatMap((report) => (report.kind === 'log' ? [report.line] : []));
