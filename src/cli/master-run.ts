import { pause, systemClock } from '../clock.js';
import { PeerworkError } from '../errors.js';
import type { JobInput, SettledJob } from '../job/job.js';
import type { Log } from '../log.js';
import type { Master } from '../master/master.js';
import { bar, formatDuration, formatRate, Meter, table } from './figures.js';
import { channelProblem, invalidLines, openJobFile, readJobLines } from './job-lines.js';
import type { OutcomeFile, WrittenOutcome } from './outcome-file.js';

export interface MasterRunOptions {
  readonly master: Master;
  readonly channels: ReadonlySet<string>;
  /** A file or `-`; absent: whatever the ledger holds is served and written. */
  readonly input?: string;
  readonly output?: OutcomeFile;
  /** The ids of the input, where it could be read beforehand. */
  readonly expected?: ReadonlySet<string>;
}

/** Jobs handed to the ledger at once: the next lines are read when these are stored. */
const BATCH = 500;
/** How long to wait for a database that is away. */
const AWAY_MS = 500;
const MAX_SHOWN_FAILURES = 50;
const BAR_WIDTH = 30;

/**
 * One `peerwork master`: feeds the input's jobs to the Master and collects the outcomes of just these jobs, whether they settle now,
 * settled in an earlier run on the same ledger, or stand in the output file already. Without an input it collects every outcome.
 */
export class MasterRun {
  readonly failures: WrittenOutcome[] = [];
  readonly #options: MasterRunOptions;
  readonly #meter = new Meter(() => systemClock.now());
  readonly #startedAt = Date.now();
  /** Ids of the input without an outcome yet. */
  readonly #open: Set<string>;
  /** Settled jobs whose line has not been read yet: a stream tells its ids only one by one. */
  readonly #early = new Map<string, SettledJob>();
  readonly #ended = { completed: 0, failed: 0, cancelled: 0 };
  readonly #stop = new AbortController();
  #endedNow = 0;
  #fed: boolean;
  #onDone: () => void = () => {};
  #collecting: Promise<void> | undefined;

  constructor(options: MasterRunOptions) {
    this.#options = options;
    this.#open = new Set(options.expected);
    this.#fed = options.input === undefined;
    for (const id of this.#open) this.#takeEarlier(id);
  }

  get hasInput(): boolean {
    return this.#options.input !== undefined;
  }

  get total(): number {
    return this.#open.size + this.#ended.completed + this.#ended.failed + this.#ended.cancelled;
  }

  get allCompleted(): boolean {
    return this.#open.size === 0 && this.#ended.failed + this.#ended.cancelled === 0;
  }

  /** Resolves when every job of the input has its outcome; never without an input. Rejects if the input or the output fails. */
  async work(): Promise<undefined> {
    const done = new Promise<void>((resolve) => {
      this.#onDone = resolve;
    });
    this.#collecting = this.#collect();
    await Promise.all([this.#feed(), Promise.race([done, this.#collecting.then(() => done)])]);
    return undefined;
  }

  async end(): Promise<void> {
    this.#stop.abort();
    await this.#collecting?.catch(() => {});
  }

  figures() {
    const { completed, failed, cancelled } = this.#ended;
    const elapsedMs = systemClock.now() - this.#startedAt;
    return { completed, failed, cancelled, ended: this.#endedNow, elapsedMs, perSecond: (this.#endedNow * 1000) / Math.max(1, elapsedMs) };
  }

  /** Two or three lines for a terminal. */
  status(): string {
    const workers = this.#options.master.workers();
    const names = workers.slice(0, 6).map(({ name, running, path }) => `${name} (${path}, ${running} running)`);
    const who = `${workers.length} worker${workers.length === 1 ? '' : 's'}${workers.length > 6 ? '' : names.length > 0 ? `: ${names.join(', ')}` : ''}`;
    const rate = `${formatRate(this.#meter.perSecond)} jobs/s`;
    const { completed, failed } = this.#ended;
    if (!this.hasInput) return `serving  ${completed} completed, ${failed} failed, ${rate}\n${who}`;
    const total = this.#fed || this.#options.expected !== undefined ? String(this.total) : `${this.total} so far`;
    const ended = this.total - this.#open.size;
    const share = this.total === 0 ? 0 : ended / this.total;
    return `${bar(share, BAR_WIDTH)} ${Math.floor(share * 100)} %  ${ended} of ${total}, ${failed} failed, ${rate}${this.#timeLeft()}\n${who}`;
  }

  /** One line for a log. */
  report(log: Log): void {
    const { completed, failed, cancelled } = this.#ended;
    const workers = this.#options.master.workers().length;
    const jobs = this.hasInput ? { open: this.#open.size, left: this.#timeLeft().replace(/^, | left$/g, '') || undefined } : {};
    log.info('progress', { completed, failed, cancelled, ...jobs, perSecond: Number(formatRate(this.#meter.perSecond)), workers });
  }

  failureTable(): string {
    const rows = this.failures.slice(0, MAX_SHOWN_FAILURES).map((job) => {
      const { code, message } = job.error ?? { code: job.state, message: '' };
      return [job.id, job.state, code, String(job.attempts), job.worker ?? '-', message.split('\n')[0] ?? ''];
    });
    const more = this.failures.length - rows.length;
    const heading = ['job', 'state', 'code', 'attempts', 'worker', 'message'];
    return `${table([heading, ...rows])}${more > 0 ? `\n… and ${more} more` : ''}`;
  }

  async #feed(): Promise<void> {
    const { input, channels } = this.#options;
    if (input === undefined) return;
    let batch: JobInput[] = [];
    // Whoever has parents may name any line of the input: they go in together, after all others.
    const children: JobInput[] = [];
    for await (const entry of readJobLines(openJobFile(input))) {
      const problem = 'problem' in entry ? entry.problem : channelProblem(entry.job, channels);
      if ('problem' in entry || problem !== undefined) throw invalidLines(input, [`line ${entry.line}: ${problem}`]);
      if (!this.#expect(entry.job.id)) continue;
      (entry.job.parents === undefined ? batch : children).push(entry.job);
      if (batch.length < BATCH) continue;
      await this.#push(batch);
      batch = [];
    }
    if (batch.length > 0) await this.#push(batch);
    if (children.length > 0) await this.#push(children);
    this.#fed = true;
    this.#early.clear();
    this.#finishIfDone();
  }

  /** Jobs of an input have ids: pushing them again when nobody knows whether they arrived adds none twice. */
  async #push(jobs: readonly JobInput[]): Promise<void> {
    while (!this.#stop.signal.aborted) {
      try {
        await this.#options.master.push(jobs);
        return;
      } catch (thrown) {
        if (!(thrown instanceof PeerworkError) || thrown.code !== 'ledger-away') throw thrown;
        await pause(systemClock, AWAY_MS, this.#stop.signal);
      }
    }
  }

  /** Notes a job of a stream; false if its outcome is known already. */
  #expect(id: string): boolean {
    if (this.#options.expected !== undefined) return this.#open.has(id);
    this.#open.add(id);
    if (this.#takeEarlier(id)) return false;
    const early = this.#early.get(id);
    if (early === undefined) return true;
    this.#early.delete(id);
    void this.#settle(early);
    return false;
  }

  /** Counts an outcome that the output file holds from an earlier run. */
  #takeEarlier(id: string): boolean {
    const outcome = this.#options.output?.earlier.get(id);
    if (outcome === undefined) return false;
    this.#count(outcome);
    return true;
  }

  async #collect(): Promise<void> {
    this.#finishIfDone();
    for await (const { job } of this.#options.master.results({ signal: this.#stop.signal })) {
      if (this.#options.output?.earlier.has(job.id)) continue;
      if (!this.hasInput || this.#open.has(job.id)) await this.#settle(job);
      else if (!this.#fed && this.#options.expected === undefined) this.#early.set(job.id, job);
    }
  }

  async #settle(job: SettledJob): Promise<void> {
    if (job.finishedAt >= this.#startedAt) {
      this.#endedNow += 1;
      this.#meter.add();
    }
    const written = this.#options.output?.write(job);
    const { output: _, ...outcome } = job;
    this.#count(outcome);
    this.#finishIfDone();
    await written;
  }

  #count(outcome: WrittenOutcome): void {
    this.#open.delete(outcome.id);
    this.#ended[outcome.state] += 1;
    if (outcome.state !== 'completed' && this.hasInput) this.failures.push(outcome);
  }

  #finishIfDone(): void {
    if (this.hasInput && this.#fed && this.#open.size === 0) this.#onDone();
  }

  #timeLeft(): string {
    const perSecond = this.#meter.perSecond;
    if (perSecond <= 0 || this.#open.size === 0) return '';
    return `, ${formatDuration((this.#open.size / perSecond) * 1000)} left`;
  }
}
