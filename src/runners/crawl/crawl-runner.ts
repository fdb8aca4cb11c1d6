import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { ContainerEngine, type ContainerEngineOptions } from '../../containers/container-engine.js';
import { findEngine } from '../../containers/find-engine.js';
import { type KeptRun, RunLogs } from '../../containers/run-logs.js';
import { asPeerworkError, PeerworkError } from '../../errors.js';
import type { Job, Outcome } from '../../job/job.js';
import { MAX_LOG_LINE_CHARS } from '../../job/limits.js';
import type { RunContext, Runner } from '../../job/runner.js';
import { within } from '../../kit/deadline.js';
import { EXIT_NOT_STARTED } from '../../kit/exit-codes.js';
import type { CrawlHost, HeldImage } from './crawl-host.js';
import { type CheckedCrawl, checkActor, readCrawlJob } from './crawl-job.js';
import { CrawlRun } from './crawl-run.js';
import { buildCrawlerImage, ownImage } from './image.js';
import { type KeptCrawl, KeptCrawls } from './kept-crawls.js';

export interface CrawlRunnerOptions extends Omit<ContainerEngineOptions, 'folder'> {
  /** A folder of this runner alone, for results of crawls and the engine's records. */
  readonly folder: string;
  /** Limit on containers of one crawl. */
  readonly maxContainers: number;
  /** Image of crawls that name none; default: our own crawler, built on first use. */
  readonly image?: string;
  /** Quota for the stored output of its containers; default none. */
  readonly logBytes?: number;
  /** Time between a crawl's own time limit and the stop of its containers. */
  readonly timeoutGraceMs?: number;
}

/** Label that only our crawler's image has. */
const OWN_LABEL = 'peerwork.image';
const DEFAULT_TIMEOUT_GRACE_MS = 30_000;
/** Codes with which another attempt, here or elsewhere, would fail the same way. */
const FINAL: ReadonlySet<string> = new Set(['crawl-invalid', 'crawl-redis-missing', 'container-invalid', 'cancelled']);

/**
 * Runs crawls in containers. Whatever can be refused is refused before the first of them starts: the job, its config, its image, its
 * network, its Redis. `CrawlRun` executes the crawl.
 */
export class CrawlRunner implements Runner {
  readonly kind = 'crawl';
  readonly queues = true;
  readonly isolation: string;
  readonly tier = 'container' as const;
  readonly #options: CrawlRunnerOptions;
  readonly #engine: ContainerEngine;
  readonly #kept: KeptCrawls;
  readonly #logs: RunLogs;
  readonly #closing = new AbortController();
  readonly #running = new Set<Promise<unknown>>();
  #building: Promise<void> | undefined;

  /** Rejects with `engine-missing`. */
  static async open(options: CrawlRunnerOptions): Promise<CrawlRunner> {
    await mkdir(options.folder, { recursive: true, mode: 0o700 });
    const engine = await ContainerEngine.open({ ...options, folder: join(options.folder, 'engine') });
    const { folder, clock, log, logBytes = 0 } = options;
    const kept = await KeptCrawls.open(join(folder, 'kept'), clock, log);
    const logs = await RunLogs.open({ folder: join(folder, 'logs'), kind: 'crawl', quotaBytes: logBytes, clock, log });
    return new CrawlRunner(options, engine, kept, logs);
  }

  private constructor(options: CrawlRunnerOptions, engine: ContainerEngine, kept: KeptCrawls, logs: RunLogs) {
    this.#options = options;
    this.#engine = engine;
    this.#kept = kept;
    this.#logs = logs;
    this.isolation = engine.isolation;
  }

  async run(job: Job, context: RunContext): Promise<Outcome> {
    const perform = (kept: KeptRun) =>
      this.#run(job, { ...context, report: kept.report }, kept).catch((thrown: unknown) => this.#refuse(thrown, context.signal));
    const running = this.#logs.keep(job, context.report, perform);
    this.#running.add(running);
    try {
      return await running;
    } finally {
      this.#running.delete(running);
    }
  }

  /** Stops running crawls, which are released. */
  async close(): Promise<void> {
    this.#closing.abort();
    await Promise.all(this.#running);
    await Promise.all([this.#engine.close(), this.#kept.close(), this.#logs.close()]);
  }

  async #run(job: Job, context: RunContext, { learn }: KeptRun): Promise<Outcome> {
    const crawl = await readCrawlJob(job, context.workplace, context.tunnel !== undefined);
    const { clock, log, maxContainers, timeoutGraceMs = DEFAULT_TIMEOUT_GRACE_MS, internet } = this.#options;
    if (crawl.containers > maxContainers)
      throw new PeerworkError('container-limits', `${crawl.containers} containers, allowed are ${maxContainers}`);
    const { memoryMb } = this.#engine.ceilings;
    if (crawl.memoryMb !== undefined && crawl.memoryMb > memoryMb)
      throw new PeerworkError('container-limits', `${crawl.memoryMb} MiB of memory for each container, allowed are ${memoryMb}`);
    const signals = [context.signal, this.#closing.signal];
    const image = await within({ signals }, (signal) => this.#holdImage(crawl, { ...context, signal }));
    let kept: KeptCrawl | undefined;
    try {
      if (crawl.api === undefined) kept = await this.#kept.take(crawl.key);
      const host: CrawlHost = { engine: this.#engine, clock, log, learn, timeoutGraceMs, ...(internet !== undefined && { internet }) };
      return await new CrawlRun(host, { job, crawl, image, kept, context, closing: this.#closing.signal }).run();
    } finally {
      kept?.release();
      image.release();
      await this.#kept.sweep();
    }
  }

  /** Holds the image of a crawl and validates the config if it is for our own crawler; any other image validates its own. */
  async #holdImage(crawl: CheckedCrawl, { signal, report }: RunContext): Promise<HeldImage> {
    const name = crawl.image ?? this.#options.image;
    const own = name === undefined;
    if (own) checkActor(crawl);
    if (name !== undefined) {
      const held = await this.#engine.images.hold(name, { signal, onProgress: (value) => report({ kind: 'progress', value }) });
      try {
        if (held.labels[OWN_LABEL] === 'crawler') checkActor(crawl);
        return { ...held, name };
      } catch (thrown) {
        held.release();
        throw thrown;
      }
    }
    const image = await ownImage();
    if ((await this.#engine.images.inspect(image)) === undefined) await this.#build(report);
    const facts = await this.#engine.images.inspect(image);
    if (facts === undefined) throw new PeerworkError('image-unbuildable', `${image} is not there after it was built`);
    return { ...facts, name: image, release: () => {} };
  }

  /** Builds the image; concurrent callers share one build. */
  #build(report: RunContext['report']): Promise<void> {
    const say = (line: string) => {
      this.#options.log.info(line);
      report({ kind: 'log', stream: 'log', line });
    };
    const build = async () => {
      const { engine: wish, environment = process.env } = this.#options;
      await buildCrawlerImage({ engine: await findEngine(wish, environment), signal: this.#closing.signal, say, environment });
    };
    this.#building ??= build().finally(() => {
      this.#building = undefined;
    });
    return this.#building;
  }

  #refuse(thrown: unknown, cancelled: AbortSignal): Outcome {
    if (this.#closing.signal.aborted && !cancelled.aborted) return { state: 'released', reason: 'the worker stopped' };
    const error = cancelled.aborted ? new PeerworkError('cancelled') : asPeerworkError(thrown);
    const { code, message } = error;
    if (code === 'internal') this.#options.log.error('a crawl failed for a reason of our own', { code, error: message });
    const exitCode = code === 'image-missing' || code === 'engine-failed' ? EXIT_NOT_STARTED : 1;
    return { state: 'failed', error: { code, message: message.slice(0, MAX_LOG_LINE_CHARS), exitCode }, retry: !FINAL.has(code) };
  }
}
