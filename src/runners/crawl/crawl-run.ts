import { join } from 'node:path';
import type { Timer } from '../../clock.js';
import type { Container } from '../../containers/container.js';
import type { Egress } from '../../containers/egress/egress.js';
import { rewriteLocalhost } from '../../containers/localhost.js';
import { type CrawlProgress, readProgress } from '../../crawl/progress.js';
import { describeError, PeerworkError } from '../../errors.js';
import type { CrawlOutput } from '../../job/crawl.js';
import type { Job, JobError, Json, Outcome } from '../../job/job.js';
import { MAX_JOB_DATA_BYTES, MAX_LOG_LINE_CHARS } from '../../job/limits.js';
import type { RunContext } from '../../job/runner.js';
import { readRedisUrl } from '../../kit/redis-url.js';
import { conceal } from '../../log.js';
import { crawlEnvironment } from './crawl-environment.js';
import type { CheckedCrawl } from './crawl-job.js';
import type { CrawlHost, HeldImage } from './crawl-runner.js';
import { collectResults, makeResultsFolder, RESULTS_TARGET, sizeOfResults } from './results.js';
import { openRunEgress, type RunEgress } from './run-egress.js';
import type { SharedQueue } from './shared-queue.js';

export interface CrawlRunOptions {
  readonly job: Job;
  readonly crawl: CheckedCrawl;
  readonly image: HeldImage;
  /** Of this run alone. */
  readonly folder: string;
  readonly context: RunContext;
  /** The runner closes: the run is given back. */
  readonly closing: AbortSignal;
}

interface CrawlContainer {
  readonly id: string;
  readonly container: Container;
  progress: CrawlProgress | undefined;
  /** Its last line that is not progress. */
  said: string;
}

interface EndedContainer {
  readonly id: string;
  readonly exitCode: number;
  readonly outOfMemory: boolean;
  readonly handled: number;
  readonly said: string;
}

/** Why containers are being stopped; the first cause counts. */
type StopCause = 'cancelled' | 'closed' | 'timeout' | 'too-large';

const DEFAULT_MEMORY_MB = 512;
const TMP_MB = 32;
const STOP_GRACE_MS = 10_000;
const LOOK_MS = 1_000;
/** Output that is not the results: exit codes, counts. */
const ENVELOPE_BYTES = 256 * 1024;
const EXIT_NOT_STARTED = 125;
const EXIT_TIMEOUT = 124;
const DEFAULT_PREFIX = 'worker-';
/** Begins the crawler's line on a page that is given up. */
const FAILED_PAGE = 'failed ';

/**
 * One crawl from its network to its outcome.
 *
 * egress → Redis answers → containers started together → each that dies frees its locks, so that the others go on → all ended → results
 * merged → keys left to expire. Time limit, cancellation, closing and results beyond the limit stop all containers; the first of them is
 * what the outcome tells.
 */
export class CrawlRun {
  readonly #host: CrawlHost;
  readonly #options: CrawlRunOptions;
  readonly #containers: CrawlContainer[] = [];
  #cause: StopCause | undefined;
  #told = '';
  #looking: Timer | undefined;

  constructor(host: CrawlHost, options: CrawlRunOptions) {
    this.#host = host;
    this.#options = options;
  }

  async run(): Promise<Outcome> {
    const { job, crawl, image, folder, context } = this.#options;
    // Of the owner's own services, and so few that they are kept for good.
    if (crawl.trusted) for (const secret of secretsOf(crawl)) conceal(secret);
    const results = crawl.api === undefined ? await makeResultsFolder(join(folder, 'results')) : undefined;
    const egress = await openRunEgress(this.#host, { job, crawl, image, context });
    try {
      const queue = await this.#openQueue(egress);
      try {
        const ended = await this.#runContainers(egress.ofContainers, results, queue);
        if (queue !== undefined && (crawl.containerIdPrefix ?? DEFAULT_PREFIX) === DEFAULT_PREFIX) await queue.expire();
        return await this.#outcome(ended, results, queue);
      } finally {
        queue?.close();
      }
    } finally {
      await egress.close();
    }
  }

  /** The Redis of the run, reached just as its containers will reach it; a container that cannot would only say so much later. */
  async #openQueue({ redisUrl, proxySocket }: RunEgress): Promise<SharedQueue | undefined> {
    if (redisUrl === undefined || proxySocket === undefined) return undefined;
    const { SharedQueue } = await import('./shared-queue.js');
    return SharedQueue.open(redisUrl, this.#options.crawl.queue, proxySocket, this.#host.clock);
  }

  async #runContainers(egress: Egress, results: string | undefined, queue: SharedQueue | undefined): Promise<EndedContainer[]> {
    const { crawl, context, closing } = this.#options;
    const timers: Timer[] = [];
    const onCancel = () => this.#stop('cancelled');
    const onClose = () => this.#stop('closed');
    context.signal.addEventListener('abort', onCancel);
    closing.addEventListener('abort', onClose);
    try {
      const ids = Array.from({ length: crawl.containers }, (_, at) => `${crawl.containerIdPrefix ?? DEFAULT_PREFIX}${at + 1}`);
      const started = await Promise.allSettled(ids.map((id) => this.#start(id, egress, results)));
      this.#containers.sort((a, b) => ids.indexOf(a.id) - ids.indexOf(b.id));
      const fault = started.find((each) => each.status === 'rejected');
      if (fault !== undefined) this.#stop('closed');
      context.begin?.();
      for (const limitMs of this.#limits()) timers.push(this.#host.clock.after(limitMs, () => this.#stop('timeout')));
      this.#look(results);
      if (context.signal.aborted) onCancel();
      if (closing.aborted) onClose();
      const ended = await Promise.all(this.#containers.map((each) => this.#end(each, queue)));
      if (fault !== undefined) throw fault.reason;
      return ended;
    } finally {
      for (const timer of timers) timer.cancel();
      this.#looking?.cancel();
      this.#looking = undefined;
      context.signal.removeEventListener('abort', onCancel);
      closing.removeEventListener('abort', onClose);
      for (const { container } of this.#containers) this.#host.engine.discard(container);
    }
  }

  async #start(id: string, egress: Egress, results: string | undefined): Promise<void> {
    const { job, crawl, image } = this.#options;
    const { engine } = this.#host;
    const { ceilings } = engine;
    const memoryMb = Math.min(crawl.memoryMb ?? DEFAULT_MEMORY_MB, ceilings.memoryMb);
    const api = crawl.api && { ...crawl.api, baseUrl: rewriteLocalhost(crawl.api.baseUrl, egress.hostName) };
    const env = crawlEnvironment(crawl, {
      id,
      memoryMb,
      ownImage: image.labels['peerwork.image'] === 'crawler',
      api,
      hostName: egress.hostName,
    });
    const spec = {
      job: job.id,
      image: image.name,
      env: { ...env, ...(results !== undefined && { PEERWORK_RESULTS: RESULTS_TARGET }) },
      mounts: results === undefined ? [] : [{ source: results, target: RESULTS_TARGET, writable: true }],
      maxFileBytes: ceilings.diskMb * 1024 * 1024,
      memoryMb,
      cpus: ceilings.cpus,
      pids: ceilings.pids,
      tmpMb: TMP_MB,
      egress,
      labels: crawl.labels ?? {},
      stopGraceMs: STOP_GRACE_MS,
    };
    let own: CrawlContainer | undefined;
    const container = await engine.start(spec, (stream, line) => this.#line(id, own, stream, line));
    own = { id, container, progress: undefined, said: '' };
    this.#containers.push(own);
  }

  #line(id: string, own: CrawlContainer | undefined, stream: 'stdout' | 'stderr' | 'log', line: string): void {
    const progress = stream === 'stdout' ? readProgress(line) : undefined;
    if (progress !== undefined) {
      if (own !== undefined) own.progress = progress;
      this.#report();
      return;
    }
    // Why a page failed says more than the count of them.
    const tells = stream === 'stderr' || !own?.said.startsWith(FAILED_PAGE) || line.startsWith(FAILED_PAGE);
    if (own !== undefined && line.trim() !== '' && tells) own.said = line;
    const shown = this.#options.crawl.containers > 1 ? `${id}: ${line}` : line;
    this.#options.context.report({ kind: 'log', stream, line: shown.slice(0, MAX_LOG_LINE_CHARS) });
  }

  /** How far the whole crawl is, when that is something new. */
  #report(): void {
    const all = this.#containers.flatMap(({ progress }) => progress ?? []);
    const value = {
      handled: sum(all.map(({ handled }) => handled)),
      failed: sum(all.map(({ failed }) => failed)),
      known: Math.max(0, ...all.map(({ total }) => total)),
    };
    const told = JSON.stringify(value);
    if (told === this.#told) return;
    this.#told = told;
    this.#options.context.report({ kind: 'progress', value });
  }

  async #end(own: CrawlContainer, queue: SharedQueue | undefined): Promise<EndedContainer> {
    const exit = await own.container.ended;
    let { exitCode } = exit;
    if (exitCode === undefined) {
      own.said = exit.complaint ?? own.said;
      exitCode = EXIT_NOT_STARTED;
    }
    if (this.#cause === 'timeout') exitCode = Math.max(exitCode, EXIT_TIMEOUT);
    if (exitCode !== 0) {
      const freed = (await queue?.release(own.id)) ?? 0;
      if (freed > 0) this.#host.log.info('a container died: what it held is free again', { container: own.id, exitCode, pages: freed });
    }
    return { id: own.id, exitCode, outOfMemory: exit.outOfMemory, handled: own.progress?.handled ?? 0, said: own.said };
  }

  /** Stops every container, for this cause or an earlier one. */
  #stop(cause: StopCause): void {
    this.#cause ??= cause;
    for (const { container } of this.#containers) void container.stop();
  }

  /** In milliseconds from now: of the crawl with its grace, of the job. */
  #limits(): number[] {
    const { crawl, job } = this.#options;
    const own = crawl.timeoutSecs === undefined ? [] : [crawl.timeoutSecs * 1_000 + this.#host.timeoutGraceMs];
    return [...own, ...(job.timeoutMs > 0 ? [job.timeoutMs] : [])].map((ms) => Math.min(ms, 2_147_000_000));
  }

  /** What containers write is on the owner's disk: no more than can be given back anyway, and no more than the owner allows. */
  #look(results: string | undefined): void {
    if (results === undefined) return;
    const most = Math.min(this.#host.engine.ceilings.diskMb * 1024 * 1024, MAX_JOB_DATA_BYTES * 2);
    const look = async () => {
      const bytes = await sizeOfResults(results).catch(() => 0);
      if (bytes > most) this.#stop('too-large');
      else if (this.#looking !== undefined) again();
    };
    const again = () => {
      this.#looking = this.#host.clock.after(LOOK_MS, () => void look(), { unref: true });
    };
    again();
  }

  async #outcome(ended: readonly EndedContainer[], results: string | undefined, queue: SharedQueue | undefined): Promise<Outcome> {
    if (this.#cause === 'closed') return { state: 'released', reason: 'the worker stopped' };
    if (this.#cause === 'cancelled') return failed({ code: 'cancelled', message: describeError('cancelled') }, false);
    if (this.#cause === 'too-large') throw new PeerworkError('output-too-large', `the results have more than ${MAX_JOB_DATA_BYTES} bytes`);
    const worst = ended.reduce((a, b) => (b.exitCode > a.exitCode ? b : a), ended[0] as EndedContainer);
    if (worst.exitCode !== 0) return failed(this.#error(worst), true);
    const collected = results === undefined ? undefined : await collectResults(results, MAX_JOB_DATA_BYTES - ENVELOPE_BYTES);
    const counts = await queue?.counts();
    const all = this.#containers.flatMap(({ progress }) => progress ?? []);
    const output: CrawlOutput = {
      exitCode: 0,
      handled: collected?.results.length ?? counts?.handled ?? sum(all.map(({ handled }) => handled)),
      failed: collected?.failed ?? counts?.failed ?? sum(all.map(({ failed }) => failed)),
      containers: ended.map(({ id, exitCode, handled }) => ({ id, exitCode, handled: counts?.byClient.get(id) ?? handled })),
      ...(collected !== undefined && { results: collected.results }),
    };
    return { state: 'completed', output: output as unknown as Json };
  }

  #error({ id, exitCode, outOfMemory, said }: EndedContainer): JobError {
    const { crawl, job } = this.#options;
    if (this.#cause === 'timeout') {
      const limit = crawl.timeoutSecs === undefined ? `${job.timeoutMs} ms` : `${crawl.timeoutSecs} s and a grace`;
      return { code: 'timeout', message: describeError('timeout', limit), exitCode };
    }
    if (outOfMemory) return { code: 'memory', message: describeError('memory', `container ${id}`), exitCode };
    const last = said === '' ? '' : `; its last words: ${said}`;
    const message = describeError('crawl-failed', `exit code ${exitCode} of ${id}${last}`).slice(0, MAX_LOG_LINE_CHARS);
    return { code: 'crawl-failed', message, exitCode };
  }
}

function secretsOf({ api, redisUrl }: CheckedCrawl): string[] {
  const { password = '' } = redisUrl === undefined ? {} : readRedisUrl(redisUrl);
  return [api?.key ?? '', password].filter(Boolean);
}

function failed(error: JobError, retry: boolean): Outcome {
  return { state: 'failed', error, retry };
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
