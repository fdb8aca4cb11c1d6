import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Queue } from 'bullmq';
import { findEngine } from '../../src/containers/find-engine.js';
import { createLog } from '../../src/log.js';
import { buildCrawlerImage } from '../../src/runners/crawl/image.js';
import { crawlRunner } from '../../src/runners/crawl/setup.js';
import { type DorySourceOptions, dorySource } from '../../src/wires/dory/source/setup.js';
import { Worker } from '../../src/worker/worker.js';
import { HOST } from '../lab/crawl-bed.js';
import type { LabDocker } from '../lab/docker.js';
import { LabRedis } from '../lab/redis.js';
import { removeFolder } from '../lab/remove-folder.js';
import { Site } from '../lab/site.js';
import { until } from '../lab/until.js';
import { FakeApi } from '../wires/dory/source/fake-api.js';
import { shortTimes } from '../wires/dory/source/lab.js';

export const IMAGE = 'dory-core:v2';
const script = fileURLToPath(new URL('dory-process.js', import.meta.url));

/** Arguments of a Worker process, as JSON. */
export interface ProcessArguments {
  readonly options: DorySourceOptions;
  readonly home: string;
  readonly hosts: readonly string[];
}

/** Everything around a dory Worker, including containers: an API, a Redis for both queues, a website to crawl, an engine with the image. */
export class DoryBed {
  readonly lab: LabDocker;
  readonly api: FakeApi;
  readonly redis: LabRedis;
  readonly site: Site;
  readonly queue: Queue;
  readonly #folder: string;
  readonly #processes = new Set<ChildProcess>();
  readonly #workers: Worker[] = [];
  #homes = 0;
  /** Delay before each page, in milliseconds. */
  delayMs = 0;
  /** Pages that respond with 500. */
  readonly broken = new Set<string>();

  private constructor(lab: LabDocker, api: FakeApi, redis: LabRedis, site: Site) {
    this.lab = lab;
    this.api = api;
    this.redis = redis;
    this.site = site;
    this.queue = new Queue('run-execution', { connection: { url: redis.url } });
    this.queue.on('error', () => {});
    this.#folder = mkdtempSync(join(lab.folder, 'dory-'));
  }

  static async start(lab: LabDocker): Promise<DoryBed> {
    let bed: DoryBed | undefined;
    const site = await Site.start({
      pages: 1_000,
      get delayMs() {
        return bed?.delayMs ?? 0;
      },
      answer: ({ url = '' }, response) => {
        if (bed?.broken.has(url) !== true) return false;
        response.writeHead(500).end('it throws');
        return true;
      },
    });
    await buildCrawlerImage({
      engine: await findEngine('docker', process.env),
      tags: [IMAGE],
      signal: AbortSignal.timeout(300_000),
      say: () => {},
    });
    bed = new DoryBed(lab, await FakeApi.start(), await LabRedis.start(), site);
    return bed;
  }

  /** The address of a container's Redis as the owner of the Worker writes it. */
  get crawlerRedisUrl(): string {
    return `redis://localhost:${this.redis.port}`;
  }

  /** A crawl of this many pages of the site. */
  actor(maxPages: number, more: object = {}): object {
    return { startUrls: [this.site.url('/page/0', HOST)], maxPages, maxRetries: 1, ...more };
  }

  async enqueue(runId: string, config: { readonly [field: string]: unknown }) {
    const run = this.api.addRun(runId, { dockerImage: IMAGE, memoryLimitMb: 256, actorTimeoutSecs: 120, ...config });
    const { id = '' } = await this.queue.add('execute', { runId });
    return { run, id, enqueuedAt: Date.now() };
  }

  options(workerId: string, more: DorySourceOptions = {}): DorySourceOptions {
    const settings = { crawlerRedisUrl: this.crawlerRedisUrl };
    const apiBaseUrl = this.api.url.replace('127.0.0.1', 'localhost');
    return { apiBaseUrl, apiKey: 'dwk_a-key-for-tests', redisUrl: this.redis.url, workerId, settings, timing: shortTimes, ...more };
  }

  home(name = String(++this.#homes)): string {
    return join(this.#folder, name);
  }

  get hosts(): readonly string[] {
    return [`${HOST}:${this.site.port}`];
  }

  worker(workerId: string, more: DorySourceOptions = {}): Worker {
    const worker = startWorker({ options: this.options(workerId, more), home: this.home(), hosts: this.hosts });
    this.#workers.push(worker);
    return worker;
  }

  /** A Worker in a process of its own, to be killed. */
  process(workerId: string, more: DorySourceOptions = {}, home = this.home(workerId)): ChildProcess {
    const given: ProcessArguments = { options: this.options(workerId, more), home, hosts: this.hosts };
    const child = spawn(process.execPath, [script, JSON.stringify(given)], { stdio: ['pipe', 'ignore', 'inherit'] });
    this.#processes.add(child);
    return child;
  }

  async kill(child: ChildProcess): Promise<void> {
    this.#processes.delete(child);
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
  }

  /** Resolves with how the job ended. */
  async ended(id: string): Promise<'completed' | 'failed'> {
    let state = '';
    const ended = async () => {
      state = await this.queue.getJobState(id);
      return state === 'completed' || state === 'failed';
    };
    await until(ended, 20, () => `job ${id} is ${state}; last calls: ${JSON.stringify(this.api.calls.slice(-10))}`);
    return state === 'completed' ? 'completed' : 'failed';
  }

  /** Containers of a run that exist, running or not. */
  async containersOf(runId: string): Promise<readonly string[]> {
    return (await this.lab.docker('ps', '-aq', '--filter', `label=dory.run=${runId}`)).split('\n').filter(Boolean);
  }

  /** Remaining containers of a run; ended ones are removed a moment later. */
  async leftOf(runId: string): Promise<readonly string[]> {
    let left: readonly string[] = [];
    const gone = async () => {
      left = await this.containersOf(runId);
      return left.length === 0;
    };
    await until(gone, 50, () => `containers of ${runId} are left: ${left}`);
    return left;
  }

  /** How many containers were ever created for it. */
  async madeFor(runId: string, sinceMs: number): Promise<number> {
    const range = ['--since', String((sinceMs - 1_000) / 1_000), '--until', String(Date.now() / 1_000)];
    const filters = ['--filter', `label=dory.run=${runId}`, '--filter', 'event=create'];
    return (await this.lab.docker('events', ...range, ...filters, '--format', '{{.ID}}')).split('\n').filter(Boolean).length;
  }

  /** Returns what the queue of a distributed run holds afterwards. */
  async inspect(runId: string) {
    const redis = this.redis.connect();
    try {
      const [meta, requests, handled, keys, ttl] = await Promise.all([
        redis.hgetall(`rq:${runId}:meta`),
        redis.hgetall(`rq:${runId}:requests`),
        redis.scard(`rq:${runId}:handled`),
        redis.keys(`rq:${runId}:*`),
        redis.ttl(`rq:${runId}:requests`),
      ]);
      const byContainer = Object.fromEntries(
        Object.entries(meta).flatMap(([field, count]) => (field.startsWith('h:') ? [[field.slice(2), Number(count)]] : [])),
      );
      const all = Object.values(requests).map(
        (text) => JSON.parse(text) as { uniqueKey: string; retryCount?: number; errorMessages?: string[] },
      );
      return { byContainer, requests: all, handled, keys, ttl };
    } finally {
      redis.disconnect();
    }
  }

  /** Resets everything between scenarios. */
  async clear(): Promise<void> {
    for (const child of [...this.#processes]) await this.kill(child);
    await Promise.all(this.#workers.splice(0).map((worker) => worker.close()));
    this.api.heal();
    this.api.calls.length = 0;
    this.api.beats.clear();
    this.api.config = undefined;
    this.site.hits.clear();
    this.broken.clear();
    this.delayMs = 0;
    await this.queue.obliterate({ force: true });
  }

  async close(): Promise<void> {
    await this.clear();
    await this.queue.close();
    await this.site.close();
    await this.api.close();
    await this.redis.close();
    await removeFolder(this.#folder);
  }
}

/** Starts a Worker as a person would, but with short intervals. */
export function startWorker({ options, home, hosts }: ProcessArguments, write: (line: string) => void = () => {}): Worker {
  const worker = new Worker({
    ...{ home, concurrency: 4, sandbox: 'off', drainMs: 1_000, name: options.workerId ?? 'w' },
    log: createLog({ level: 'debug', write }),
    sources: [dorySource(options)],
    runners: [crawlRunner({ required: true, engine: 'docker', network: ['internet', ...hosts] })],
  });
  worker.ready.catch((error: unknown) => write(String(error)));
  return worker;
}
