import type { Timer } from '../../clock.js';
import type { Container } from '../../containers/container.js';
import { DiskWatch } from '../../containers/disk-watch.js';
import type { Egress } from '../../containers/egress/egress.js';
import { rewriteLocalhost } from '../../containers/engine-facts.js';
import { type CrawlProgress, readProgress } from '../../crawl/progress.js';
import { PeerworkError } from '../../errors.js';
import type { CrawlOutput } from '../../job/crawl.js';
import type { Job, Outcome } from '../../job/job.js';
import { MAX_JOB_DATA_BYTES, MAX_LOG_LINE_CHARS } from '../../job/limits.js';
import type { RunContext } from '../../job/runner.js';
import { EXIT_NOT_STARTED } from '../../kit/exit-codes.js';
import { isStackFrame } from '../../kit/fatal-words.js';
import { readRedisUrl } from '../../kit/redis-url.js';
import { conceal } from '../../log.js';
import { crawlEnvironment } from './crawl-environment.js';
import type { CrawlHost, HeldImage } from './crawl-host.js';
import type { CheckedCrawl } from './crawl-job.js';
import { type EndedContainer, outcomeOf, type StopCause } from './crawl-outcome.js';
import type { KeptCrawl } from './kept-crawls.js';
import { enterResults, RESULTS_TARGET, ResultBook, sizeOfResults } from './results.js';
import { openRunEgress, type RunEgress } from './run-egress.js';
import type { SharedQueue } from './shared-queue.js';

export interface CrawlRunOptions {
  readonly job: Job;
  readonly crawl: CheckedCrawl;
  readonly image: HeldImage;
  /** Where its containers write, including what earlier attempts left there; absent if results are delivered elsewhere. */
  readonly kept: KeptCrawl | undefined;
  readonly context: RunContext;
  /** Aborted when the runner closes: the run is released. */
  readonly closing: AbortSignal;
}

interface CrawlContainer {
  readonly id: string;
  readonly container: Container;
  progress: CrawlProgress | undefined;
  /** Its last line that is not progress. */
  lastLine: string;
}

const DEFAULT_MEMORY_MB = 512;
const TMP_MB = 32;
const STOP_GRACE_MS = 10_000;
/** Output other than results: exit codes, counts. */
const ENVELOPE_BYTES = 256 * 1024;
/** Limit of results, as JSON. */
const ROOM_BYTES = MAX_JOB_DATA_BYTES - ENVELOPE_BYTES;
const EXIT_TIMEOUT = 124;
const DEFAULT_PREFIX = 'worker-';
const NOTHING = { results: 0, all: 0 };
/** Prefix of the crawler's line about a page that it has given up. */
const FAILED_PAGE = 'failed ';

/**
 * One crawl from its network to its outcome.
 *
 * egress → Redis responds → containers started concurrently → the locks of each that dies are freed, so that the others continue → all
 * ended → results merged → state for the next attempt removed, or kept for it. A time limit, cancellation, closing and results beyond the
 * limit stop all containers; the first of these decides the outcome.
 */
export class CrawlRun {
  readonly #host: CrawlHost;
  readonly #options: CrawlRunOptions;
  readonly #containers: CrawlContainer[] = [];
  #cause: StopCause | undefined;
  #lastReport = '';
  /** Of earlier attempts: pages, and bytes of results that are not on this disk. */
  #before = { handled: 0, failed: 0, bytes: 0 };
  /** Pages that were read, known at the end. */
  #read = 0;

  constructor(host: CrawlHost, options: CrawlRunOptions) {
    this.#host = host;
    this.#options = options;
  }

  async run(): Promise<Outcome> {
    const { job, crawl, image, kept, context } = this.#options;
    // Secrets of the owner's own services, few enough to be concealed permanently.
    if (crawl.trusted) for (const secret of secretsOf(crawl)) conceal(secret);
    const egress = await openRunEgress(this.#host, { job, crawl, image, context });
    try {
      const queue = await this.#openQueue(egress);
      try {
        await this.#countEarlierAttempts(queue);
        const ended = await this.#runContainers(egress.containerEgress, queue);
        const outcome = await this.#outcome(ended, queue);
        if (crawl.api === undefined) await this.#cleanUp(outcome, queue);
        else if (this.#prefix === DEFAULT_PREFIX) await queue?.expire();
        return outcome;
      } finally {
        queue?.close();
      }
    } finally {
      // Either removed or kept for the next attempt; in both cases no longer needed here.
      kept?.release();
      await egress.close();
    }
  }

  get #prefix(): string {
    return this.#options.crawl.containerIdPrefix ?? DEFAULT_PREFIX;
  }

  get #ids(): string[] {
    return Array.from({ length: this.#options.crawl.containers }, (_, at) => `${this.#prefix}${at + 1}`);
  }

  /** Opens the Redis of the run over the same path as its containers; a container would report an unreachable one only much later. */
  async #openQueue({ redisUrl, proxySocket }: RunEgress): Promise<SharedQueue | undefined> {
    if (redisUrl === undefined || proxySocket === undefined) return undefined;
    const { SharedQueue } = await import('./shared-queue.js');
    return SharedQueue.open(redisUrl, this.#options.crawl.queue, proxySocket, this.#host.clock);
  }

  /** Counts what earlier attempts have done, here or, with a Redis, anywhere. */
  async #countEarlierAttempts(queue: SharedQueue | undefined): Promise<void> {
    const { crawl, kept, context } = this.#options;
    if (kept === undefined) return;
    const book = new ResultBook(ROOM_BYTES);
    await enterResults(kept.results, book, ROOM_BYTES);
    if (queue === undefined) this.#before = { handled: book.results.length, failed: book.failed, bytes: 0 };
    else {
      // A process of an earlier attempt that still runs has lost its lease.
      if (!crawl.trusted) for (const id of this.#ids) await queue.release(id);
      const counts = await queue.counts();
      const { results } = await sizeOfResults(kept.results);
      if (counts !== undefined)
        this.#before = { handled: counts.handled, failed: counts.failed, bytes: Math.max(0, counts.resultBytes - results) };
    }
    const { handled } = this.#before;
    if (handled > 0)
      context.report({ kind: 'log', stream: 'log', line: `continues where an earlier attempt stopped: ${handled} pages are done` });
  }

  /** Removes the state of a crawl that is over, or that has read no page and will restart from the beginning. */
  async #cleanUp(outcome: Outcome, queue: SharedQueue | undefined): Promise<void> {
    const { kept, context } = this.#options;
    // After a lost lease it is unknown whether the job continues elsewhere, or here.
    const lost = context.signal.aborted && !isCancelled(context.signal);
    const again = outcome.state === 'released' || lost || (outcome.state === 'failed' && outcome.retry && this.#read > 0);
    if (again) return queue?.expire();
    await Promise.all([queue?.remove(), kept?.forget()]);
  }

  async #runContainers(egress: Egress, queue: SharedQueue | undefined): Promise<EndedContainer[]> {
    const { kept, context, closing } = this.#options;
    const results = kept?.results;
    const timers: Timer[] = [];
    let watch: DiskWatch | undefined;
    const onCancel = () => this.#stop('cancelled');
    const onClose = () => this.#stop('closed');
    context.signal.addEventListener('abort', onCancel);
    closing.addEventListener('abort', onClose);
    try {
      const ids = this.#ids;
      const started = await Promise.allSettled(ids.map((id) => this.#start(id, egress, results)));
      this.#containers.sort((a, b) => ids.indexOf(a.id) - ids.indexOf(b.id));
      const fault = started.find((each) => each.status === 'rejected');
      if (fault !== undefined) this.#stop('closed');
      context.begin?.();
      for (const limitMs of this.#limits()) timers.push(this.#host.clock.after(limitMs, () => this.#stop('timeout')));
      watch = this.#watch(results);
      if (context.signal.aborted) onCancel();
      if (closing.aborted) onClose();
      const ended = await Promise.all(this.#containers.map((each) => this.#end(each, queue)));
      if (fault !== undefined) throw fault.reason;
      return ended;
    } finally {
      for (const timer of timers) timer.cancel();
      watch?.stop();
      context.signal.removeEventListener('abort', onCancel);
      closing.removeEventListener('abort', onClose);
      for (const { container } of this.#containers) this.#host.engine.discard(container);
    }
  }

  async #start(id: string, egress: Egress, results: string | undefined): Promise<void> {
    const { job, crawl, image } = this.#options;
    const { engine } = this.#host;
    const { ceilings } = engine;
    const memoryMb = this.#memoryMb;
    const api = crawl.api && { ...crawl.api, baseUrl: rewriteLocalhost(crawl.api.baseUrl, egress.hostName) };
    const env = crawlEnvironment(crawl, {
      id,
      memoryMb,
      ownImage: image.labels['peerwork.image'] === 'crawler',
      api,
      hostName: egress.hostName,
    });
    this.#host.learn(env);
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
    own = { id, container, progress: undefined, lastLine: '' };
    this.#containers.push(own);
  }

  /** Memory of one container, in MiB. */
  get #memoryMb(): number {
    return Math.min(this.#options.crawl.memoryMb ?? DEFAULT_MEMORY_MB, this.#host.engine.ceilings.memoryMb);
  }

  #line(id: string, own: CrawlContainer | undefined, stream: 'stdout' | 'stderr' | 'log', line: string): void {
    const progress = stream === 'stdout' ? readProgress(line) : undefined;
    if (progress !== undefined) {
      if (own !== undefined) own.progress = progress;
      this.#report();
      return;
    }
    // The reason why a page failed is more useful than the number of failures.
    const isInformative = stream === 'stderr' || !own?.lastLine.startsWith(FAILED_PAGE) || line.startsWith(FAILED_PAGE);
    if (own !== undefined && line.trim() !== '' && !isStackFrame(line) && isInformative) own.lastLine = line;
    const shown = this.#options.crawl.containers > 1 ? `${id}: ${line}` : line;
    this.#options.context.report({ kind: 'log', stream, line: shown.slice(0, MAX_LOG_LINE_CHARS) });
  }

  /** Reports the progress of the whole crawl if it has changed. */
  #report(): void {
    const all = this.#containers.flatMap(({ progress }) => progress ?? []);
    const value = {
      handled: this.#before.handled + sum(all.map(({ handled }) => handled)),
      failed: this.#before.failed + sum(all.map(({ failed }) => failed)),
      known: Math.max(0, ...all.map(({ total }) => total)),
      ...(all.some(({ told }) => told) && { told: true }),
    };
    const text = JSON.stringify(value);
    if (text === this.#lastReport) return;
    this.#lastReport = text;
    this.#options.context.report({ kind: 'progress', value });
  }

  async #end(own: CrawlContainer, queue: SharedQueue | undefined): Promise<EndedContainer> {
    const exit = await own.container.ended;
    let { exitCode } = exit;
    if (exitCode === undefined) {
      own.lastLine = exit.complaint ?? own.lastLine;
      exitCode = EXIT_NOT_STARTED;
    }
    // The exit code after our signal, 143 or 137, is meaningless; a container that ended before keeps its own.
    if (this.#cause === 'timeout') exitCode = EXIT_TIMEOUT;
    if (exitCode !== 0) {
      const freed = (await queue?.release(own.id)) ?? 0;
      if (freed > 0) this.#host.log.info('a container died: what it held is free again', { container: own.id, exitCode, pages: freed });
    }
    return { id: own.id, exitCode, outOfMemory: exit.outOfMemory, handled: own.progress?.handled ?? 0, lastLine: own.lastLine };
  }

  /** Stops every container; an earlier cause is kept. */
  #stop(cause: StopCause): void {
    this.#cause ??= cause;
    for (const { container } of this.#containers) void container.stop();
  }

  /** Returns time limits in milliseconds from now: of the crawl with its grace, of the job. */
  #limits(): number[] {
    const { crawl, job } = this.#options;
    const own = crawl.timeoutSecs === undefined ? [] : [crawl.timeoutSecs * 1_000 + this.#host.timeoutGraceMs];
    return [...own, ...(job.timeoutMs > 0 ? [job.timeoutMs] : [])];
  }

  /** Containers write to the owner's disk: limits all to what can be returned anyway, and each to what the owner allows. */
  #watch(results: string | undefined): DiskWatch {
    const { clock, engine } = this.#host;
    const allowed = engine.ceilings.diskMb * 1024 * 1024;
    return new DiskWatch(clock, async () => {
      const bytes = results === undefined ? NOTHING : await sizeOfResults(results).catch(() => NOTHING);
      const layers = await Promise.all(this.#containers.map(({ container }) => container.written(allowed)));
      if (bytes.results + this.#before.bytes > ROOM_BYTES) this.#stop('results');
      else if (Math.max(bytes.all, ...layers) > allowed) this.#stop('disk');
      return this.#cause !== undefined;
    });
  }

  async #outcome(ended: readonly EndedContainer[], queue: SharedQueue | undefined): Promise<Outcome> {
    const { crawl, job, kept } = this.#options;
    const book = kept === undefined ? undefined : await this.#collect(kept.results, queue);
    this.#read = book === undefined ? 0 : book.results.length - book.failed;
    const counts = await queue?.counts();
    const all = this.#containers.flatMap(({ progress }) => progress ?? []);
    const output: CrawlOutput = {
      exitCode: 0,
      handled: (book && book.results.length + book.leftOut) ?? counts?.handled ?? sum(all.map(({ handled }) => handled)),
      failed: book?.failed ?? counts?.failed ?? sum(all.map(({ failed }) => failed)),
      containers: ended.map(({ id, exitCode, handled }) => ({ id, exitCode, handled: counts?.byClient.get(id) ?? handled })),
      ...(book !== undefined && { results: book.results }),
      ...(book !== undefined && book.leftOut > 0 && { leftOut: book.leftOut }),
    };
    const full = counts?.full ?? all.some((each) => each.full);
    const timeLimit = crawl.timeoutSecs === undefined ? `${job.timeoutMs} ms` : `${crawl.timeoutSecs} s and a grace`;
    const diskLimit = `more than ${this.#host.engine.ceilings.diskMb} MiB`;
    return outcomeOf({ cause: this.#cause, ended, output, full, timeLimit, diskLimit, memoryMb: this.#memoryMb });
  }

  /** Merges the results on this disk with those that earlier attempts elsewhere left in Redis. */
  async #collect(results: string, queue: SharedQueue | undefined): Promise<ResultBook> {
    const book = new ResultBook(ROOM_BYTES);
    await enterResults(results, book, ROOM_BYTES);
    await queue?.enter(book);
    return book;
  }
}

/** Whether the job itself was cancelled, rather than its lease lost. */
function isCancelled({ reason }: AbortSignal): boolean {
  return reason instanceof PeerworkError && reason.code === 'cancelled';
}

function secretsOf({ api, redisUrl }: CheckedCrawl): string[] {
  const { password = '' } = redisUrl === undefined ? {} : readRedisUrl(redisUrl);
  return [api?.key ?? '', password].filter(Boolean);
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
