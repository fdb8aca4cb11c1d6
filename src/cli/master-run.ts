import { join } from 'node:path';
import { pause, systemClock } from '../clock.js';
import { PeerworkError } from '../errors.js';
import type { SettledJob } from '../job/job.js';
import type { Log } from '../log.js';
import type { JobWithFiles } from '../master/files.js';
import type { Master } from '../master/master.js';
import type { Result } from '../master/results.js';
import { Batch } from './batch.js';
import { bar, formatDuration, formatRate, Meter, table } from './figures.js';
import { channelProblem, folderOf, invalidLines, openJobFile, readJobLines } from './job-lines.js';
import type { OutcomeFile } from './outcome-file.js';
import { folderName, writeFiles } from './output-folder.js';

export interface MasterRunOptions {
  readonly master: Master;
  readonly channels: ReadonlySet<string>;
  /** A file or `-`; if absent, every settlement of the ledger is collected. */
  readonly input?: string;
  readonly output?: OutcomeFile;
  /** Where files that jobs made are written, a folder for each job. */
  readonly outputDir?: string;
  /** The ids of the input, if it could be read in advance. */
  readonly expected?: ReadonlySet<string>;
  /** Retry jobs of the input that have failed. */
  readonly retryFailed?: boolean;
}

type InputJob = JobWithFiles & { readonly id: string };

/** Jobs per ledger call; the next lines are read once these are stored. */
const BATCH = 500;
/** Delay between attempts while the database is unreachable, in milliseconds. */
const UNREACHABLE_DELAY_MS = 500;
/** Deletions are not announced, so after this long without an outcome the ledger is queried for the jobs still awaited. */
const QUIET_MS = 10_000;
/** The pause between such queries is at least this many times as long as the last one took. */
const CHECK_PAUSE_FACTOR = 50;
const MAX_SHOWN_FAILURES = 50;
const BAR_WIDTH = 30;

/**
 * One run of `peerwork master`: feeds the input's jobs to the Master and collects the settlements of exactly these jobs, from now
 * and from earlier runs on the same ledger. Jobs that the ledger no longer knows (because it is new, or past its retention) count
 * as the output file says. Without an input it collects every settlement.
 *
 * A job that has ended may be retried, here or through the API. So once all have ended, the ledger is queried again, and the
 * summary reports its answer. A job that gets deleted is no longer waited for.
 */
export class MasterRun {
  readonly #options: MasterRunOptions;
  readonly #meter = new Meter(() => systemClock.now());
  readonly #startedAt = systemClock.now();
  readonly #batch = new Batch();
  /** Settled jobs whose line has not been read yet: a stream reveals its ids one by one. */
  readonly #early = new Map<string, Result>();
  readonly #stop = new AbortController();
  /** Counts over all jobs, for runs without an input. */
  #served = { completed: 0, failed: 0, cancelled: 0, deleted: 0 };
  #settlements = 0;
  #endedNow = 0;
  #fed: boolean;
  #comparing = false;
  #onDone: () => void = () => {};
  #onBroken: (error: unknown) => void = () => {};
  #collecting: Promise<void> | undefined;

  constructor(options: MasterRunOptions) {
    this.#options = options;
    for (const id of options.expected ?? []) this.#batch.setOpen(id);
    this.#fed = options.input === undefined;
  }

  get hasInput(): boolean {
    return this.#options.input !== undefined;
  }

  get readsStdin(): boolean {
    return this.#options.input === '-';
  }

  get total(): number {
    return this.#batch.size;
  }

  /** Number of jobs of the input that have not ended. */
  get open(): number {
    return this.#batch.open;
  }

  get allCompleted(): boolean {
    return this.#batch.counts.completed === this.#batch.size;
  }

  /** Resolves when every job of the input has its outcome; never without an input. Rejects if the input or the output fails. */
  async work(): Promise<undefined> {
    const done = new Promise<void>((resolve, reject) => {
      this.#onDone = resolve;
      this.#onBroken = reject;
    });
    this.#collecting = this.#collect();
    this.#watch().catch((error: unknown) => this.#onBroken(error));
    await Promise.all([this.#feed(), Promise.race([done, this.#collecting.then(() => done)])]);
    return undefined;
  }

  async end(): Promise<void> {
    this.#stop.abort();
    await this.#collecting?.catch(() => {});
  }

  figures() {
    const { completed, failed, cancelled, deleted } = this.#counts;
    const elapsedMs = systemClock.now() - this.#startedAt;
    const perSecond = (this.#endedNow * 1000) / Math.max(1, elapsedMs);
    return { completed, failed, cancelled, deleted, ended: this.#endedNow, elapsedMs, perSecond };
  }

  /** Returns two or three lines for a terminal. */
  status(): string {
    this.#countServed();
    const workers = this.#options.master.workers();
    const names = workers.slice(0, 6).map(({ name, running, path }) => `${name} (${path}, ${running} running)`);
    const who = `${workers.length} worker${workers.length === 1 ? '' : 's'}${workers.length > 6 ? '' : names.length > 0 ? `: ${names.join(', ')}` : ''}`;
    const rate = `${formatRate(this.#meter.perSecond)} jobs/s`;
    const { completed, failed } = this.#counts;
    if (!this.hasInput) return `serving  ${completed} completed, ${failed} failed, ${rate}\n${who}`;
    const total = this.#fed || this.#options.expected !== undefined ? String(this.total) : `${this.total} so far`;
    const ended = this.total - this.open;
    const share = this.total === 0 ? 0 : ended / this.total;
    return `${bar(share, BAR_WIDTH)} ${Math.floor(share * 100)} %  ${ended} of ${total}, ${failed} failed, ${rate}${this.#timeLeft()}\n${who}`;
  }

  /** Logs one line of progress. */
  report(log: Log): void {
    this.#countServed();
    const { completed, failed, cancelled, deleted } = this.#counts;
    const workers = this.#options.master.workers().length;
    const jobs = this.hasInput
      ? { ...(deleted > 0 && { deleted }), open: this.open, left: this.#timeLeft().replace(/^, | left$/g, '') || undefined }
      : {};
    log.info('progress', { completed, failed, cancelled, ...jobs, perSecond: Number(formatRate(this.#meter.perSecond)), workers });
  }

  /** Returns a table of the jobs that did not complete; empty if all did. */
  failureTable(): string {
    const { failures, deletedIds } = this.#batch;
    if (failures.length + deletedIds.length === 0) return '';
    const rows = [
      ...failures.slice(0, MAX_SHOWN_FAILURES).map((job) => {
        const { code, message } = job.error ?? { code: job.state, message: '' };
        return [job.id, job.state, code, String(job.attempts), job.worker ?? '-', message.split('\n')[0] ?? ''];
      }),
      ...deletedIds.map((id) => [id, 'deleted', '-', '-', '-', 'It was deleted before it had ended']),
    ].slice(0, MAX_SHOWN_FAILURES);
    const more = failures.length + deletedIds.length - rows.length;
    const heading = ['job', 'state', 'code', 'attempts', 'worker', 'message'];
    return `${table([heading, ...rows])}${more > 0 ? `\n… and ${more} more` : ''}`;
  }

  /**
   * Compares the input's jobs with their states in the ledger. A job that waits or runs again is reopened, as is one that ended
   * differently than reported, whose new outcome will follow. An open job that the ledger does not have was deleted. Resolves with
   * false if jobs were settled meanwhile, so that the result may be incomplete.
   */
  async compare(ids: readonly string[] = [...this.#batch.ids]): Promise<boolean> {
    let isComplete = true;
    for (let from = 0; from < ids.length; from += BATCH) {
      const page = ids.slice(from, from + BATCH);
      const before = this.#settlements;
      const states = await this.#retried(() => this.#options.master.states(page));
      // Settlements that arrived meanwhile may be newer than the reply.
      if (before !== this.#settlements) {
        isComplete = false;
        continue;
      }
      for (const [id, state] of states) if (state !== this.#batch.stateOf(id)) this.#batch.setOpen(id);
      // While the input is being read, a job may not have been added yet.
      if (this.#fed) for (const id of page) if (!states.has(id) && this.#batch.stateOf(id) === 'open') this.#batch.setDeleted(id);
    }
    return isComplete;
  }

  get #counts() {
    return this.hasInput ? this.#batch.counts : this.#served;
  }

  /** Refreshes the counts for the next status. */
  #countServed(): void {
    if (this.hasInput) return;
    this.#options.master.counts().then(
      (counts) => {
        this.#served = { ...counts, deleted: 0 };
      },
      () => {},
    );
  }

  async #feed(): Promise<void> {
    const { input, channels } = this.#options;
    if (input === undefined) return;
    let batch: InputJob[] = [];
    // Parents may be on any line of the input, so jobs that have some are added together, after all others.
    const children: InputJob[] = [];
    for await (const entry of readJobLines(openJobFile(input), folderOf(input))) {
      const problem = 'problem' in entry ? entry.problem : channelProblem(entry.job, channels);
      if ('problem' in entry || problem !== undefined)
        throw invalidLines(input, [`line ${entry.line}: ${problem}`], { tooLarge: 'problem' in entry && entry.tooLarge === true });
      await this.#expect(entry.job.id);
      (entry.job.parents === undefined ? batch : children).push(entry.job);
      if (batch.length < BATCH) continue;
      await this.#add(batch);
      batch = [];
    }
    if (batch.length > 0) await this.#add(batch);
    if (children.length > 0) await this.#add(children);
    this.#fed = true;
    this.#early.clear();
    this.#finishIfDone();
  }

  /** Adds jobs that the ledger does not know, and retries those that should be retried. */
  async #add(jobs: readonly InputJob[]): Promise<void> {
    const { master, output, retryFailed = false } = this.#options;
    const states = await this.#retried(() => master.states(jobs.map(({ id }) => id)));
    const failed = retryFailed ? jobs.filter(({ id }) => states.get(id) === 'failed') : [];
    const fresh = jobs.filter(({ id }) => {
      const written = states.has(id) ? undefined : output?.earlier.get(id);
      if (written === undefined || (retryFailed && written.state === 'failed')) return !states.has(id);
      this.#batch.setEnded(written);
      return false;
    });
    // Before the retry: its outcome may be reported before the call returns.
    for (const { id } of failed) this.#batch.setOpen(id);
    if (failed.length > 0) await this.#retried(() => master.retry(...failed.map(({ id }) => id)));
    if (fresh.length > 0) await this.#retried(() => master.push(fresh));
  }

  /** Retries while the database is unreachable. Safe even if an earlier attempt went through, because the jobs of an input have ids. */
  async #retried<T>(ask: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await ask();
      } catch (thrown) {
        if (!(thrown instanceof PeerworkError) || thrown.code !== 'ledger-away' || this.#stop.signal.aborted) throw thrown;
        await pause(systemClock, UNREACHABLE_DELAY_MS, this.#stop.signal);
      }
    }
  }

  /** Records a job of a stream. */
  async #expect(id: string): Promise<void> {
    if (this.#batch.stateOf(id) !== undefined) return;
    this.#batch.setOpen(id);
    const early = this.#early.get(id);
    if (early === undefined) return;
    this.#early.delete(id);
    await this.#settle(early);
  }

  async #watch(): Promise<void> {
    const { signal } = this.#stop;
    let seen = this.#settlements;
    for (let waitMs = QUIET_MS; this.hasInput && !signal.aborted; ) {
      await pause(systemClock, waitMs, signal);
      const isQuiet = seen === this.#settlements && this.#fed && this.open > 0 && !signal.aborted;
      seen = this.#settlements;
      waitMs = QUIET_MS;
      if (!isQuiet) continue;
      const startedAt = systemClock.now();
      await this.compare(this.#batch.openIds);
      waitMs = Math.max(QUIET_MS, (systemClock.now() - startedAt) * CHECK_PAUSE_FACTOR);
      this.#finishIfDone();
    }
  }

  async #collect(): Promise<void> {
    this.#finishIfDone();
    for await (const result of this.#options.master.results({ signal: this.#stop.signal })) {
      if (!this.hasInput || this.#batch.stateOf(result.job.id) !== undefined) await this.#settle(result);
      else if (!this.#fed && this.#options.expected === undefined) this.#early.set(result.job.id, result);
    }
  }

  async #settle({ cursor, job }: Result): Promise<void> {
    this.#settlements += 1;
    if (job.finishedAt >= this.#startedAt) {
      this.#endedNow += 1;
      this.#meter.add();
    }
    await this.#writeFiles(job);
    const written = this.#options.output?.write(cursor, job);
    if (this.hasInput) this.#batch.setEnded(withoutOutput(job));
    this.#finishIfDone();
    await written;
  }

  /** Before the line in the output: who reads the line finds the files. */
  async #writeFiles({ id, files, finishedAt }: SettledJob): Promise<void> {
    const { outputDir, master } = this.#options;
    if (outputDir === undefined || files === undefined) return;
    await writeFiles(join(outputDir, folderName(id)), files, (_name, file) => master.readFile(file), finishedAt);
  }

  #finishIfDone(): void {
    if (!this.hasInput || !this.#fed || this.open > 0 || this.#comparing) return;
    this.#comparing = true;
    this.compare()
      .then((isComplete) => {
        this.#comparing = false;
        if (isComplete && this.open === 0) this.#onDone();
        else this.#finishIfDone();
      })
      .catch((error: unknown) => this.#onBroken(error));
  }

  #timeLeft(): string {
    const perSecond = this.#meter.perSecond;
    if (perSecond <= 0 || this.open === 0) return '';
    return `, ${formatDuration((this.open / perSecond) * 1000)} left`;
  }
}

function withoutOutput({ output: _, ...outcome }: SettledJob) {
  return outcome;
}
