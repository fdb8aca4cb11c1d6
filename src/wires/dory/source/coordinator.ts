import { asPeerworkError } from '../../../errors.js';
import { Deadline, within } from '../../../kit/deadline.js';
import { DoryError } from '../errors.js';
import type { HeldJob } from './held-job.js';
import type { HelperWatch } from './helper-watch.js';
import type { JournalEntry } from './journal.js';
import { EXIT_CANCELLED, failure, verdictOf, withHelpers } from './reporter.js';
import { crawlOfRun, type RoleOptions } from './role.js';
import { RunLease } from './run-lease.js';
import type { RunSettings } from './settings.js';
import { hasEnded, type RunConfig } from './shapes.js';

export interface CoordinatorOptions extends RoleOptions {
  readonly helpers: HelperWatch;
  /** Aborted when the source closes; runs that are unsettled then are given back. */
  readonly closing: AbortSignal;
}

/** Attempts to report a run as `running`; the run does not wait for this for long. */
const RUNNING_TRIES = 2;
/** The id becomes part of URLs and container names. */
const RUN_ID = /^[A-Za-z0-9][\w.:-]{0,199}$/;

interface PreparedRun {
  readonly config: RunConfig;
  readonly settings: RunSettings & { readonly image: string };
}

/**
 * The run named by a BullMQ job, from taking it to settling it: configuration → checks → `running` → lease → (containers) → outcome →
 * helpers have left → final status → job settled.
 *
 * A run that fails before its lease settles its job with the error. A failure that says nothing about the run gives the job back: the key
 * was rejected, the claim was withdrawn, the Worker stops, or the key of the containers was rejected meanwhile. The final status is
 * reported unless a container has reported it already. When the lock is lost, another Worker has the run: its containers are stopped and
 * nothing is reported.
 */
export class Coordinator {
  readonly #options: CoordinatorOptions;

  constructor(options: CoordinatorOptions) {
    this.#options = options;
  }

  /** Resolves with the lease of the job's run; undefined if there is nothing to run and the job has been dealt with. Never rejects. */
  async take(job: HeldJob, signal: AbortSignal): Promise<RunLease | undefined> {
    const { active, journal, log, workerId, reporter, marks, onRefused } = this.#options;
    const runId = runIdOf(job.data);
    if (runId === undefined) {
      log.warn('a job of the run queue names no run and is failed', {
        job: job.id,
        hint: 'Allow only the API to add jobs to this queue (`--dory-queue`); its jobs have a `runId`.',
      });
      await job.fail(new DoryError('dory-run-invalid', 'its job has no usable runId').message);
      return undefined;
    }
    const running = active.find('coordinator', runId);
    if (running?.jobId === job.id) {
      // The lock expired unnoticed, and the queue gave the job to this Worker again.
      await active.end('coordinator', runId);
    }
    const runsHere = running !== undefined && running.jobId !== job.id;
    if (runsHere || !(await marks.takeRun(runId, job.id))) {
      log.warn(`a run was enqueued twice: ${runsHere ? 'it is running here already' : 'another Worker runs it'}`, {
        run: runId,
        job: job.id,
        hint: 'No action needed; it runs once. Start a run again only after it has ended.',
      });
      await job.complete({ runId, skipped: 'running' });
      return undefined;
    }
    job.onEnd = () => marks.dropRun(runId, job.id);
    const entry: JournalEntry = { runId, role: 'coordinator', workerId, jobId: job.id, token: job.token };
    await journal.put(entry);
    const either = new Deadline({ signals: [signal, job.lost] });
    const withdrawn = either.signal;
    try {
      if (job.doomed !== undefined) throw new DoryError('dory-run-invalid', `${runId}: ${job.doomed}`);
      const prepared = await this.#prepare(runId, withdrawn);
      const hasEndedAlready = prepared === 'over' || (await this.#announce(runId, prepared, withdrawn)) === 'ended';
      if (!hasEndedAlready) return this.#begin(prepared, entry, job);
      log.info('a run was over before it began here', { run: runId });
      await job.complete({ runId, skipped: 'over' });
      await journal.remove(entry);
    } catch (thrown) {
      const error = asPeerworkError(thrown);
      const refused = error.code === 'dory-key-refused';
      if (refused) onRefused(error);
      else if (!withdrawn.aborted) {
        log.warn('a run failed before it began', { run: runId, code: error.code, error });
        await reporter.settle({ ...entry, verdict: failure(error.message) }, job, { tries: 1 });
        return undefined;
      }
      await job.giveBack();
      await journal.remove(entry);
    } finally {
      either.end();
    }
    return undefined;
  }

  /** Rejects with the reason why the run cannot be started. */
  async #prepare(runId: string, signal: AbortSignal): Promise<PreparedRun | 'over'> {
    const config = await this.#options.api.runConfig(runId, signal);
    if (config === 'gone' || hasEnded(config)) return 'over';
    const { image, containers, crawlerRedisUrl } = this.#options.settings.ofRun(config);
    if (image === undefined) throw new DoryError('dory-image-missing');
    if (containers > 1 && crawlerRedisUrl === undefined) throw new DoryError('dory-crawler-redis-missing');
    return { config, settings: { image, containers, crawlerRedisUrl } };
  }

  /**
   * Reports `running` before the containers start, because helpers must be able to find the run. An API that cannot record it now does not
   * stop the run.
   */
  async #announce(runId: string, { settings }: PreparedRun, signal: AbortSignal): Promise<'noted' | 'ended'> {
    const { api, workerId, log } = this.#options;
    const distributed = settings.containers > 1;
    try {
      const report = { status: 'running' as const, ...(distributed && { coordinatorWorkerId: workerId }) };
      return await api.postStatus(runId, report, { tries: RUNNING_TRIES, signal });
    } catch (thrown) {
      const error = asPeerworkError(thrown);
      if (signal.aborted || error.code === 'dory-key-refused') throw error;
      log.warn('the API could not be notified that a run continues', {
        run: runId,
        error,
        hint: 'Check the API and API_BASE_URL; the run continues.',
      });
      return 'noted';
    }
  }

  #begin({ config, settings }: PreparedRun, entry: JournalEntry, job: HeldJob): RunLease {
    const { api, workerId, active, log } = this.#options;
    const { runId } = entry;
    const access = api.access;
    const data = crawlOfRun({ runId, workerId, config, settings, api: access, role: 'coordinator' });
    const lease = new RunLease(runId, data, job.attempt);
    const onLost = () => lease.stop('lost');
    job.lost.addEventListener('abort', onLost);
    if (job.lost.aborted) onLost();
    const run = { runId, role: 'coordinator', containers: settings.containers, lease, jobId: job.id } as const;
    active.add(run, this.#follow(lease, { config, settings }, entry, job, access.key));
    log.info('a run begins', { run: runId, containers: settings.containers });
    return lease;
  }

  /** Follows a run to its end. `key` is the API key that its containers were given. */
  async #follow(lease: RunLease, { config, settings }: PreparedRun, entry: JournalEntry, job: HeldJob, key: string): Promise<void> {
    const { journal, api, helpers, reporter, closing, log } = this.#options;
    const { runId } = entry;
    const distributed = settings.containers > 1;
    let verdict = verdictOf(await lease.outcome);
    if (verdict !== undefined && distributed && lease.reason === undefined) {
      const signals = [closing, lease.signal];
      const exits = await within({ signals }, (signal) => helpers.left(runId, config.actorTimeoutSecs, signal));
      // Helpers are still working and this Worker stops, so another one becomes the coordinator.
      verdict = exits === undefined ? undefined : withHelpers(verdict, exits);
    }
    if (verdict?.status === 'failed' && lease.reason === undefined && api.access.key !== key) {
      log.warn('a run is given back: its containers had a key that is no longer in use', {
        run: runId,
        exitCode: verdict.exitCode,
        hint: 'Run `peerwork login` for a new key, unless the key was changed on purpose; the run is taken again with a valid key.',
      });
      verdict = undefined;
    }
    if (lease.reason === 'cancelled') verdict = failure(new DoryError('dory-run-cancelled').message, EXIT_CANCELLED);
    if (verdict?.status === 'failed' && lease.lastLines !== '') verdict = { ...verdict, log: lease.lastLines };
    if (lease.reason === 'lost') {
      job.abandon();
      log.warn('a run was taken away: its containers are stopped, others report how it ends', {
        run: runId,
        hint: 'No action needed for this run. If it is frequent, locks expire: check the run queue’s Redis and the load of this machine.',
      });
    } else if (verdict === undefined) await job.giveBack();
    else {
      await reporter.settle({ ...entry, verdict }, job, { known: lease.wasReported || (await this.#isOver(runId, config)) });
      return;
    }
    await journal.remove(entry);
  }

  /**
   * Whether the API knows that the run has ended. For an image other than our crawler's, only the API knows what its containers have
   * reported. It is queried only if its run configurations include a status.
   */
  async #isOver(runId: string, { status }: RunConfig): Promise<boolean> {
    const { api, closing } = this.#options;
    if (status === undefined || closing.aborted) return false;
    try {
      const config = await api.runConfig(runId, closing);
      return config === 'gone' || hasEnded(config);
    } catch {
      return false;
    }
  }
}

function runIdOf(data: unknown): string | undefined {
  const { runId } = (typeof data === 'object' && data !== null ? data : {}) as { runId?: unknown };
  return typeof runId === 'string' && RUN_ID.test(runId) ? runId : undefined;
}
