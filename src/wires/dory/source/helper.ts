import { asPeerworkError } from '../../../errors.js';
import type { JournalEntry } from './journal.js';
import { LEFT, verdictOf } from './reporter.js';
import { crawlOfRun, type RoleOptions } from './role.js';
import { RunLease } from './run-lease.js';
import { type DistributedRun, hasEnded } from './shapes.js';

/**
 * Joins runs that other Workers coordinate, with containers of its own on the same request queue. Reports nothing about the run except that
 * it leaves.
 */
export class Helper {
  readonly #options: RoleOptions;
  /** Runs that this Worker has helped with and that had no work left for it. Two helpers rejoining in turn would never let a run end. */
  readonly #helped = new Set<string>();

  constructor(options: RoleOptions) {
    this.#options = options;
  }

  /** Returns those runs that this Worker could help with. */
  joinable(runs: readonly DistributedRun[]): readonly DistributedRun[] {
    const { workerId, active, settings } = this.#options;
    if (settings.crawlerRedisUrl === undefined) return [];
    for (const runId of this.#helped) if (!runs.some((run) => run.runId === runId)) this.#helped.delete(runId);
    return runs.filter(
      ({ runId, coordinatorWorkerId, participants }) =>
        coordinatorWorkerId !== workerId &&
        active.find('coordinator', runId) === undefined &&
        active.find('helper', runId) === undefined &&
        !this.#helped.has(runId) &&
        !participants.some((each) => each.workerId === workerId),
    );
  }

  /** Joins the first run that accepts it and resolves with its lease; undefined if none does. Never rejects. */
  async join(runs: readonly DistributedRun[], signal: AbortSignal): Promise<RunLease | undefined> {
    const { log, onRefused } = this.#options;
    for (const run of runs) {
      try {
        const lease = await this.#joinOne(run, signal);
        if (lease !== undefined) return lease;
      } catch (thrown) {
        const error = asPeerworkError(thrown);
        if (error.code === 'dory-key-refused') onRefused(error);
        log.debug('a run could not be joined', { run: run.runId, error });
      }
      if (signal.aborted) break;
    }
    return undefined;
  }

  async #joinOne(run: DistributedRun, signal: AbortSignal): Promise<RunLease | undefined> {
    const { api, workerId, settings, journal, reporter, active, log } = this.#options;
    const { runId, containerCount } = run;
    const { containers: offered } = settings.asHelper({ dockerImage: undefined, containerCount });
    if (!(await api.join(runId, workerId, offered, signal))) return undefined;
    const entry: JournalEntry = { runId, role: 'helper', workerId };
    await journal.put(entry);
    try {
      const config = await api.runConfig(runId, signal);
      if (config !== 'gone' && !hasEnded(config)) {
        const { image, containers, crawlerRedisUrl } = settings.asHelper({
          ...config,
          containerCount: config.containerCount ?? containerCount,
        });
        if (image !== undefined && crawlerRedisUrl !== undefined) {
          const used = { image, containers, crawlerRedisUrl };
          const lease = new RunLease(runId, crawlOfRun({ runId, workerId, config, settings: used, api: api.access, role: 'helper' }), 1);
          active.add({ runId, role: 'helper', containers, lease }, this.#follow(lease, entry));
          log.info('helps with a run', { run: runId, containers });
          return lease;
        }
      }
    } catch (thrown) {
      await reporter.leave({ ...entry, verdict: LEFT });
      throw thrown;
    }
    await reporter.leave({ ...entry, verdict: LEFT });
    return undefined;
  }

  /**
   * Reports that the helper leaves. Stopping early does no harm, because unfinished requests return to the queue, so only a failure of
   * containers is reported.
   */
  async #follow(lease: RunLease, entry: JournalEntry): Promise<void> {
    const verdict = verdictOf(await lease.outcome);
    this.#helped.add(entry.runId);
    await this.#options.reporter.leave({ ...entry, verdict: lease.reason === undefined && verdict !== undefined ? verdict : LEFT });
  }
}
