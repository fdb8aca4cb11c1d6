import { asPeerworkError } from '../../errors.js';
import type { Log } from '../../log.js';
import type { DoryApi } from './api.js';
import type { HeldJob } from './held-job.js';
import type { Journal, JournalEntry, Verdict } from './journal.js';
import type { RunQueue } from './run-queue.js';
import { LEFT } from './verdict.js';

export interface ReporterOptions {
  readonly api: DoryApi;
  readonly journal: Journal;
  readonly log: Log;
  /** Aborted when the source closes: one try must do from then on. */
  readonly closing: AbortSignal;
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

  /** Of a run that this Worker coordinates. Never rejects. */
  async settle(entry: JournalEntry & { readonly verdict: Verdict }, job: HeldJob | undefined, how: { tries?: number } = {}): Promise<void> {
    const { journal, log } = this.#options;
    const { runId, verdict } = entry;
    await journal.put(entry);
    const told = await this.#tell(entry, how);
    const { status, exitCode, error = `the run ended with ${exitCode}` } = verdict;
    log.info('a run ended', { run: runId, status, exitCode });
    if (status === 'completed') await job?.complete({ runId, exitCode });
    else await job?.fail(error);
    // Tried again, it may end otherwise.
    const again = status === 'failed' && job?.retries === true;
    if (told || again) await journal.remove(entry);
    else await journal.put({ runId, role: 'coordinator', workerId: entry.workerId, verdict });
  }

  /** Of a run that this Worker helped with. Never rejects. */
  async leave(entry: JournalEntry & { readonly verdict: Verdict }, how: { tries?: number } = {}): Promise<void> {
    await this.#options.journal.put(entry);
    if (await this.#tell(entry, how)) await this.#options.journal.remove(entry);
  }

  /** Tries again what could not be told. */
  async catchUp(): Promise<void> {
    const { journal } = this.#options;
    for (const entry of journal.all()) {
      if (entry.verdict === undefined || entry.token !== undefined || this.#telling.has(keyOf(entry))) continue;
      if (!(await this.#tell({ ...entry, verdict: entry.verdict }, { tries: 1 }))) return;
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
        log.warn('a run of an earlier process could not be dealt with', { run: runId, error });
      }
    }
  }

  /** True if the API knows now, or does not want to. */
  async #tell(entry: JournalEntry & { readonly verdict: Verdict }, { tries }: { tries?: number } = {}): Promise<boolean> {
    const { api, log, closing } = this.#options;
    const { runId, role, workerId, verdict } = entry;
    const options = closing.aborted ? { tries: 1 } : { signal: closing, ...(tries !== undefined && { tries }) };
    this.#telling.add(keyOf(entry));
    try {
      if (role === 'helper') await api.leave(runId, workerId, verdict.exitCode, options);
      else await api.postStatus(runId, { ...verdict, fallback: true }, options);
      return true;
    } catch (thrown) {
      const error = asPeerworkError(thrown);
      log.warn('the API could not be told how a run ended', { run: runId, role, code: error.code, error });
      return false;
    } finally {
      this.#telling.delete(keyOf(entry));
    }
  }
}

function keyOf({ runId, role }: JournalEntry): string {
  return `${role} ${runId}`;
}
