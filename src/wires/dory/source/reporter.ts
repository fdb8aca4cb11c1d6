import { asPeerworkError, type PeerworkError } from '../../../errors.js';
import type { Outcome } from '../../../job/job.js';
import type { Log } from '../../../log.js';
import type { DoryApi } from './api.js';
import type { HeldJob } from './held-job.js';
import { type Journal, type JournalEntry, runKey, type Verdict } from './journal.js';
import type { RunQueue } from './run-queue.js';
import type { HelperExit } from './shapes.js';

/** What docker says when a container could not be started; said for it when none got that far. */
const EXIT_NOT_STARTED = 125;

/** As of a program ended by SIGTERM. */
export const EXIT_CANCELLED = 143;

/** Of a helper that just stops helping. */
export const LEFT: Verdict = { status: 'completed', exitCode: 0 };

export interface ReporterOptions {
  readonly api: DoryApi;
  readonly journal: Journal;
  readonly log: Log;
  /** Aborted when the source closes: one try must do from then on. */
  readonly closing: AbortSignal;
  /** The API does not accept the key any more. */
  readonly onRefused: (error: PeerworkError) => void;
}

export interface SettleOptions {
  readonly tries?: number;
  /** The API has heard it from a container. */
  readonly known?: boolean;
}

/**
 * Tells how runs ended: the API first, then the run queue. What the API cannot be told stays in the journal and is told with a later
 * heartbeat, or by the next process.
 */
export class Reporter {
  readonly #options: ReporterOptions;
  readonly #telling = new Set<string>();

  constructor(options: ReporterOptions) {
    this.#options = options;
  }

  /**
   * Of a run that this Worker coordinates. A failure that the API does not hear because it refuses the key says more of the key than of the run,
   * whose containers have the same one: the job goes back to the queue. Never rejects.
   */
  async settle(
    entry: JournalEntry & { readonly verdict: Verdict },
    job: HeldJob,
    { known = false, ...how }: SettleOptions = {},
  ): Promise<void> {
    const { journal, log } = this.#options;
    const { runId, verdict } = entry;
    await journal.put(entry);
    const told = known ? 'told' : await this.#tell(entry, how);
    if (told === 'refused' && verdict.status === 'failed') {
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
    // Tried again, it may end otherwise.
    const again = status === 'failed' && job.retries;
    if (told === 'told' || again) await journal.remove(entry);
    else await journal.put({ runId, role: 'coordinator', workerId: entry.workerId, verdict });
  }

  /** Of a run that this Worker helped with. Never rejects. */
  async leave(entry: JournalEntry & { readonly verdict: Verdict }, how: { tries?: number } = {}): Promise<void> {
    await this.#options.journal.put(entry);
    if ((await this.#tell(entry, how)) === 'told') await this.#options.journal.remove(entry);
  }

  /** Tries again what could not be told. */
  async catchUp(): Promise<void> {
    const { journal } = this.#options;
    for (const entry of journal.all()) {
      if (entry.verdict === undefined || entry.token !== undefined || this.#telling.has(runKey(entry))) continue;
      if ((await this.#tell({ ...entry, verdict: entry.verdict }, { tries: 1 })) !== 'told') return;
      await journal.remove(entry);
    }
  }

  /** What an earlier process has left behind: runs that it had when it was killed can begin anew elsewhere at once. Never rejects. */
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

  /** `told`: the API knows now, or does not want to. */
  async #tell(
    entry: JournalEntry & { readonly verdict: Verdict },
    { tries }: { tries?: number } = {},
  ): Promise<'told' | 'later' | 'refused'> {
    const { api, log, closing, onRefused } = this.#options;
    const { runId, role, workerId, verdict } = entry;
    const options = closing.aborted ? { tries: 1 } : { signal: closing, ...(tries !== undefined && { tries }) };
    this.#telling.add(runKey(entry));
    try {
      if (role === 'helper') await api.leave(runId, workerId, verdict.exitCode, options);
      else await api.postStatus(runId, { ...verdict, fallback: true }, options);
      return 'told';
    } catch (thrown) {
      const error = asPeerworkError(thrown);
      log.warn('the API could not be notified how a run ended', { run: runId, role, code: error.code, error });
      if (error.code !== 'dory-key-refused') return 'later';
      onRefused(error);
      return 'refused';
    } finally {
      this.#telling.delete(runKey(entry));
    }
  }
}

/** How the containers of a run ended, the worst of their exit codes found by the runner; undefined if it was given back unfinished. */
export function verdictOf(outcome: Outcome): Verdict | undefined {
  if (outcome.state === 'released') return undefined;
  if (outcome.state === 'completed') return { status: 'completed', exitCode: 0 };
  return failure(outcome.error.message, outcome.error.exitCode || EXIT_NOT_STARTED);
}

export function failure(error: string, exitCode = EXIT_NOT_STARTED): Verdict {
  return { status: 'failed', exitCode, error };
}

/** With what the helpers reported when they left. */
export function withHelpers(own: Verdict, exits: readonly HelperExit[]): Verdict {
  const worst = exits.reduce((most, each) => (each.exitCode > most.exitCode ? each : most), { workerId: '', exitCode: own.exitCode });
  if (worst.exitCode <= own.exitCode) return own;
  return failure(own.error ?? `containers of the helper ${worst.workerId} ended with ${worst.exitCode}`, worst.exitCode);
}
