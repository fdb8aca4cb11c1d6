import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Queue } from 'bullmq';
import type tap from 'tap';
import { systemClock } from '../../../../src/clock.js';
import type { CrawlJob } from '../../../../src/job/crawl.js';
import type { Job, Outcome } from '../../../../src/job/job.js';
import type { RunContext } from '../../../../src/job/runner.js';
import { createLog } from '../../../../src/log.js';
import type { RunnerSetup } from '../../../../src/runners/setup.js';
import { type DorySourceOptions, dorySource } from '../../../../src/wires/dory/source/setup.js';
import type { DoryTiming } from '../../../../src/wires/dory/source/timing.js';
import { Worker } from '../../../../src/worker/worker.js';
import { LabRedis, redisTools } from '../../../lab/redis.js';
import { removeFolder } from '../../../lab/remove-folder.js';
import { requireTools } from '../../../lab/require.js';
import { until } from '../../../lab/until.js';
import { FakeApi } from './fake-api.js';

/** The protocol's timings divided by about a hundred, so that tests need not wait. */
export const shortTimes: DoryTiming = {
  beatMs: 100,
  lockMs: 3_000,
  extendMs: 500,
  stalledMs: 500,
  pollMs: 50,
  staleMs: 1_500,
  waitGraceMs: 600,
  untimedWaitMs: 20_000,
};

/** A crawl that a test controls. */
export class HeldCrawl {
  readonly job: Job;
  readonly signal: AbortSignal;
  readonly ended: Promise<Outcome>;
  readonly report: RunContext['report'];
  #end: (outcome: Outcome) => void = () => {};

  constructor(job: Job, { signal, report }: RunContext) {
    this.job = job;
    this.report = report;
    this.signal = signal;
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    const stop = () => this.#end({ state: 'failed', error: { code: 'cancelled', message: 'stopped', exitCode: 143 }, retry: false });
    signal.addEventListener('abort', stop);
    if (signal.aborted) stop();
  }

  get crawl(): CrawlJob {
    return this.job.data as unknown as CrawlJob;
  }

  complete(): void {
    this.#end({ state: 'completed', output: { exitCode: 0, handled: 1, failed: 0, containers: [] } });
  }

  fail(exitCode?: number): void {
    const error = { code: 'crawl-failed', message: `a container ended with ${exitCode}`, ...(exitCode !== undefined && { exitCode }) };
    this.#end({ state: 'failed', error, retry: true });
  }

  release(): void {
    this.#end({ state: 'released', reason: 'the worker stopped' });
  }
}

export interface LabWorkerOptions {
  readonly concurrency?: number;
  readonly drainMs?: number;
  /** Whether crawls complete at once. */
  readonly auto?: boolean;
  readonly home?: string;
  /** A Master that the Worker serves in addition. */
  readonly master?: { readonly token?: string; readonly trackers?: readonly string[]; readonly ice?: readonly string[] };
}

/** A Worker that serves the API with a runner controlled by the test. */
export class LabWorker {
  readonly worker: Worker;
  readonly crawls: HeldCrawl[] = [];
  readonly lines: string[] = [];
  readonly warnings: string[] = [];

  constructor(options: DorySourceOptions, home: string, { concurrency = 4, drainMs = 5_000, auto = false, master = {} }: LabWorkerOptions) {
    const { crawls } = this;
    const crawl: RunnerSetup = {
      kind: 'crawl',
      required: true,
      open: async () => ({
        kind: 'crawl',
        isolation: 'none, it is a test',
        run: (job, context) => {
          const held = new HeldCrawl(job, context);
          crawls.push(held);
          if (auto) held.complete();
          return held.ended;
        },
        close: async () => {
          for (const held of crawls) held.release();
        },
      }),
    };
    const log = createLog({ level: 'debug', write: (line) => this.lines.push(line) });
    this.worker = new Worker({
      ...{ home, concurrency, drainMs, log, name: options.workerId ?? 'w', sandbox: 'off', clock: systemClock },
      sources: [dorySource(options)],
      runners: [crawl],
      ...master,
    });
    this.worker.on('warning', ({ code }) => this.warnings.push(code));
    this.worker.ready.catch(() => {});
  }

  /** The n-th crawl that was started here, counting from 0. */
  async crawl(n: number): Promise<HeldCrawl> {
    await until(
      () => this.crawls[n] !== undefined,
      10,
      () => this.lines.slice(-20).join('\n'),
    );
    return this.crawls[n] as HeldCrawl;
  }
}

/** A dory-api, a Redis and the queue between them. */
export class DoryLab {
  readonly api: FakeApi;
  readonly redis: LabRedis;
  readonly queue: Queue;
  readonly #folder = mkdtempSync(join(tmpdir(), 'peerwork-dory-'));
  readonly #workers: LabWorker[] = [];
  #homes = 0;

  private constructor(api: FakeApi, redis: LabRedis) {
    this.api = api;
    this.redis = redis;
    this.queue = new Queue('run-execution', { connection: { url: redis.url } });
    this.queue.on('error', () => {});
  }

  static async start(): Promise<DoryLab> {
    return new DoryLab(await FakeApi.start(), await LabRedis.start());
  }

  /** One lab for all tests of a file, cleared after each test; without Redis the file is skipped. */
  static async ofFile(t: typeof tap): Promise<DoryLab> {
    if (!requireTools(t, redisTools)) process.exit();
    const lab = await DoryLab.start();
    t.afterEach(() => lab.clear());
    t.teardown(() => lab.close());
    return lab;
  }

  /** Adds a run to the API and the queue. */
  async enqueue(runId: string, config: { readonly [field: string]: unknown } = {}, options: object = {}) {
    const run = this.api.addRun(runId, config);
    const job = await this.queue.add('execute', { runId }, options);
    return { run, job, id: job.id ?? '' };
  }

  worker(id: string, options: DorySourceOptions = {}, how: LabWorkerOptions = {}): LabWorker {
    this.#homes += 1;
    const worker = new LabWorker(
      { apiBaseUrl: this.api.url, apiKey: 'dwk_a-key-for-tests', redisUrl: this.redis.url, workerId: id, timing: shortTimes, ...options },
      how.home ?? this.folder(String(this.#homes)),
      how,
    );
    this.#workers.push(worker);
    return worker;
  }

  folder(name: string): string {
    return join(this.#folder, name);
  }

  /** Resolves with the state of a BullMQ job once it is one of `wanted`, and the reason of its failure. */
  async state(id: string, ...wanted: string[]): Promise<{ readonly state: string; readonly failedReason: string | undefined }> {
    let state = '';
    const reached = async () => {
      state = await this.queue.getJobState(id);
      return wanted.includes(state);
    };
    const lines = () => this.#workers.flatMap((worker) => worker.lines).join('\n');
    await until(reached, 20, () => `job ${id} is ${state}, not ${wanted.join(' or ')}: ${lines()}`);
    // Read afterwards; an earlier read might predate the state.
    return { state, failedReason: (await this.queue.getJob(id))?.failedReason };
  }

  /** Cleans up between tests: no Worker, no run, nothing in the queue. */
  async clear(): Promise<void> {
    await Promise.all(this.#workers.splice(0).map(({ worker }) => worker.close()));
    this.api.heal();
    this.api.runs.clear();
    this.api.calls.length = 0;
    this.api.beats.clear();
    this.api.config = undefined;
    this.api.cancelled = [];
    this.api.idsOnly = false;
    this.api.includesStatus = true;
    await this.queue.obliterate({ force: true });
  }

  async close(): Promise<void> {
    await Promise.all(this.#workers.splice(0).map(({ worker }) => worker.close()));
    await this.queue.close();
    await this.api.close();
    await this.redis.close();
    await removeFolder(this.#folder);
  }
}
