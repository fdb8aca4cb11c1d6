import { asPeerworkError, type PeerworkError } from '../../../errors.js';
import type { Outcome } from '../../../job/job.js';
import type { Log } from '../../../log.js';
import type { DoryApi } from './api.js';
import type { HeldJob } from './held-job.js';
import { type Journal, type JournalEntry, runKey, type Verdict } from './journal.js';
import type { RunQueue } from './run-queue.js';
import type { HelperExit } from './shapes.js';

/** Docker's exit code for a container that could not be started; also used if no container got that far. */
const EXIT_NOT_STARTED = 125;

/** Exit code of a program ended by SIGTERM. */
export const EXIT_CANCELLED = 143;

/** Verdict of a helper that simply leaves. */
export const LEFT: Verdict = { status: 'completed', exitCode: 0 };

export interface ReporterOptions {
  readonly api: DoryApi;
  readonly journal: Journal;
  readonly log: Log;
  /** Aborted when the source closes; from then on each report gets a single attempt. */
  readonly closing: AbortSignal;
  /** Called when the API rejects the key. */
  readonly onRefused: (error: PeerworkError) => void;
}

export interface SettleOptions {
  readonly tries?: number;
  /** Whether a container has already reported the end to the API. */
  readonly known?: boolean;
}

/**
 * Reports how runs ended: to the API first, then to the run queue. A report that the API cannot receive stays in the journal and is retried
 * with a later heartbeat, or by the next process.
 */
export class Reporter {
  readonly #options: ReporterOptions;
  readonly #inFlight = new Set<string>();

  constructor(options: ReporterOptions) {
    this.#options = options;
  }

  /**
   * Settles a run that this Worker coordinates. A failure that the API does not accept because it rejects the key says more about the key
   * than about the run, whose containers used the same key: the job goes back to the queue. Never rejects.
   */
  async settle(
    entry: JournalEntry & { readonly verdict: Verdict },
    job: HeldJob,
    { known = false, ...how }: SettleOptions = {},
  ): Promise<void> {
    const { journal, log } = this.#options;
    const { runId, verdict } = entry;
    await journal.put(entry);
    const result = known ? 'delivered' : await this.#report(entry, how);
    if (result === 'refused' && verdict.status === 'failed') {
      log.warn('a run is given back: the key was refused while it ran', {
        run: runId,
        exitCode: verdict.exitCode,
        hint: 'Run `peerwork login` for a new key, unless the key was changed on purpose; the run is taken again with a valid key.',
      });
      await job.giveBack();
      await journal.remove(entry);
      return;
    }
    const { status, exitCode, error = `the run ended with ${exitCode}` } = verdict;
    log.info('a run ended', { run: runId, status, exitCode });
    if (status === 'completed') await job.complete({ runId, exitCode });
    else await job.fail(error);
    // A retry may end differently, so the failure need not be delivered.
    const willRetry = status === 'failed' && job.retries;
    if (result === 'delivered' || willRetry) await journal.remove(entry);
    else await journal.put({ runId, role: 'coordinator', workerId: entry.workerId, verdict });
  }

  /** Reports that this Worker leaves a run it helped with. Never rejects. */
  async leave(entry: JournalEntry & { readonly verdict: Verdict }, how: { tries?: number } = {}): Promise<void> {
    await this.#options.journal.put(entry);
    if ((await this.#report(entry, how)) === 'delivered') await this.#options.journal.remove(entry);
  }

  /** Retries the pending reports. */
  async catchUp(): Promise<void> {
    const { journal } = this.#options;
    for (const entry of journal.all()) {
      if (entry.verdict === undefined || entry.token !== undefined || this.#inFlight.has(runKey(entry))) continue;
      if ((await this.#report({ ...entry, verdict: entry.verdict }, { tries: 1 })) !== 'delivered') return;
      await journal.remove(entry);
    }
  }

  /** Recovers what an earlier process left behind, so that runs it had when it was killed can start elsewhere at once. Never rejects. */
  async recover(queue: RunQueue): Promise<void> {
    const { journal, log } = this.#options;
    for (const entry of journal.all()) {
      const { runId, role, jobId, token, verdict } = entry;
      try {
        if (role === 'helper') await this.leave({ ...entry, verdict: verdict ?? LEFT }, { tries: 1 });
        else if (jobId !== undefined && token !== undefined) {
          const job = await queue.reclaim(jobId, token);
          log.info('a run of an earlier process was found', { run: runId, ours: job !== undefined, ended: verdict !== undefined });
          if (job !== undefined && verdict !== undefined) await this.settle({ ...entry, verdict }, job, { tries: 1 });
          else {
            await job?.giveBack();
            await journal.remove(entry);
          }
        }
      } catch (error) {
        log.warn('a run of an earlier process could not be recovered', {
          run: runId,
          error,
          hint: 'No action needed if the API and Redis are back at the next start; it is retried then. Otherwise end the run in the API.',
        });
      }
    }
  }

  /** Reports to the API. `delivered`: the API knows now, or declined the report. */
  async #report(
    entry: JournalEntry & { readonly verdict: Verdict },
    { tries }: { tries?: number } = {},
  ): Promise<'delivered' | 'later' | 'refused'> {
    const { api, log, closing, onRefused } = this.#options;
    const { runId, role, workerId, verdict } = entry;
    const options = closing.aborted ? { tries: 1 } : { signal: closing, ...(tries !== undefined && { tries }) };
    this.#inFlight.add(runKey(entry));
    try {
      if (role === 'helper') await api.leave(runId, workerId, verdict.exitCode, options);
      else await api.postStatus(runId, { ...verdict, fallback: true }, options);
      return 'delivered';
    } catch (thrown) {
      const error = asPeerworkError(thrown);
      log.warn('the API could not be notified how a run ended', { run: runId, role, code: error.code, error });
      if (error.code !== 'dory-key-refused') return 'later';
      onRefused(error);
      return 'refused';
    } finally {
      this.#inFlight.delete(runKey(entry));
    }
  }
}

/**
 * Converts the outcome of a run's containers, whose worst exit code the runner has determined; undefined if the run was given back
 * unfinished.
 */
export function verdictOf(outcome: Outcome): Verdict | undefined {
  if (outcome.state === 'released') return undefined;
  if (outcome.state === 'completed') return { status: 'completed', exitCode: 0 };
  return failure(outcome.error.message, outcome.error.exitCode || EXIT_NOT_STARTED);
}

/** Verdict of a failed run. */
export function failure(error: string, exitCode = EXIT_NOT_STARTED): Verdict {
  return { status: 'failed', exitCode, error };
}

/** Merges in the exit codes that helpers reported when they left. */
export function withHelpers(own: Verdict, exits: readonly HelperExit[]): Verdict {
  const worst = exits.reduce((most, each) => (each.exitCode > most.exitCode ? each : most), { workerId: '', exitCode: own.exitCode });
  if (worst.exitCode <= own.exitCode) return own;
  return failure(own.error ?? `containers of the helper ${worst.workerId} ended with ${worst.exitCode}`, worst.exitCode);
}
